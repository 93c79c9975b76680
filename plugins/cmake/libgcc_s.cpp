// Stands for the board's libgcc_s while the library is linked, so that the cross-compiler does not
// link its own unwinder in: an exception crosses from the library to ONNX Runtime, whose frames
// only the system's unwinder, that its C++ library is bound to, can take it through. Never run.
#define SHIFTADD_STUB(name) \
  extern "C" __attribute__((visibility("default"))) void name() {}

SHIFTADD_STUB(_Unwind_DeleteException)
SHIFTADD_STUB(_Unwind_GetGR)
SHIFTADD_STUB(_Unwind_GetIP)
SHIFTADD_STUB(_Unwind_GetIPInfo)
SHIFTADD_STUB(_Unwind_GetLanguageSpecificData)
SHIFTADD_STUB(_Unwind_GetRegionStart)
SHIFTADD_STUB(_Unwind_RaiseException)
SHIFTADD_STUB(_Unwind_Resume)
SHIFTADD_STUB(_Unwind_Resume_or_Rethrow)
SHIFTADD_STUB(_Unwind_SetGR)
SHIFTADD_STUB(_Unwind_SetIP)
