/* Preloaded into a process, makes CPUID answer as on a processor without AVX-512, VNNI and AMX: so
   every library in it takes the kernels that it has for AVX2. Linux, x86-64, where the processor can
   fault on CPUID (arch_prctl(2), ARCH_CPUID_GET); elsewhere it says so and ends the process. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012

/* Bits of leaf 7 (Intel's manual, volume 2A, CPUID): subleaf 0 in EBX, ECX and EDX, 1 in EAX. */
static const uint32_t kLeaf7Ebx = 1u << 16 | 1u << 17 | 1u << 21 | 3u << 26 | 1u << 28 | 3u << 30;
static const uint32_t kLeaf7Ecx = 1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14;
static const uint32_t kLeaf7Edx = 1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 3u << 24;
static const uint32_t kLeaf7Sub1Eax = 1u << 4 | 1u << 5 | 1u << 21 | 1u << 23;

/* The C library's wrapper could be one that itself asks for CPUID. */
static long set_cpuid(long enabled) {
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"((long)SYS_arch_prctl), "D"((long)ARCH_SET_CPUID), "S"(enabled)
                   : "rcx", "r11", "memory");
  return result;
}

static void answer(int signal_number, siginfo_t* information, void* context) {
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  const uint8_t* code = (const uint8_t*)registers[REG_RIP];
  (void)information;
  if (code[0] != 0x0f || code[1] != 0xa2) { /* not CPUID: a crash like any other */
    signal(signal_number, SIG_DFL);
    return;
  }
  const uint32_t leaf = (uint32_t)registers[REG_RAX];
  const uint32_t subleaf = (uint32_t)registers[REG_RCX];
  uint32_t a = leaf, b, c = subleaf, d;
  set_cpuid(1);
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  set_cpuid(0);
  if (leaf == 7 && subleaf == 0) {
    b &= ~kLeaf7Ebx;
    c &= ~kLeaf7Ecx;
    d &= ~kLeaf7Edx;
  } else if (leaf == 7 && subleaf == 1) {
    a &= ~kLeaf7Sub1Eax;
    d = 0;
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void hide(void) {
  static const char kRefused[] = "bench: this machine cannot hide its instruction sets\n";
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_sigaction = answer;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  if (sigaction(SIGSEGV, &action, NULL) != 0 || set_cpuid(0) != 0) {
    if (write(STDERR_FILENO, kRefused, sizeof(kRefused) - 1) < 0) abort();
    _exit(2);
  }
}
