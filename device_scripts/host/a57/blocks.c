// A plugin for QEMU's user mode (API version 1, QEMU 4.2 to 8.2): counts how often each translated
// block runs between two marks, and writes the blocks with their code.
//
//   qemu-aarch64 -plugin libblocks.so,out=FILE PROGRAM
//
// A mark is the system call getpgid with an argument that no process has: MARK_BEGIN sets all
// counts to zero, MARK_END writes FILE. A line of it is the block's address, how often it ran, and
// its code, all in hexadecimal.
//
// Debian packages no header for plugins. What is declared here is of that interface:
// https://www.qemu.org/docs/master/devel/tcg-plugins.html
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void (*translation_callback)(qemu_plugin_id_t, struct qemu_plugin_tb*);
typedef void (*syscall_callback)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                                 uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translation_callback);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, syscall_callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb*, enum qemu_plugin_op, void*,
                                              uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb*);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t);
const void* qemu_plugin_insn_data(const struct qemu_plugin_insn*);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { GETPGID = 155 };  // of Linux on 64-bit ARM
static const int64_t MARK_BEGIN = -57001, MARK_END = -57002;
static const size_t INSTRUCTION = 4;  // bytes

struct block {
  struct block* next;
  uint64_t count, address;
  size_t size;
  unsigned char code[];
};
static struct block* blocks;
static const char* out;

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
  (void)id;
  size_t instructions = qemu_plugin_tb_n_insns(tb);
  struct block* block = calloc(1, sizeof *block + instructions * INSTRUCTION);
  if (!block) abort();
  block->address = qemu_plugin_tb_vaddr(tb);
  block->size = instructions * INSTRUCTION;
  for (size_t i = 0; i < instructions; ++i)
    memcpy(block->code + i * INSTRUCTION, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)),
           INSTRUCTION);
  // Threads translate at the same time.
  block->next = __atomic_load_n(&blocks, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(&blocks, &block->next, block, 0, __ATOMIC_RELEASE,
                                      __ATOMIC_RELAXED)) {
  }
  qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &block->count, 1);
}

static void write_counts(void) {
  FILE* file = fopen(out, "w");
  if (!file) {
    perror(out);
    exit(1);
  }
  for (const struct block* block = blocks; block; block = block->next) {
    if (!block->count) continue;
    fprintf(file, "%llx %llx ", (unsigned long long)block->address,
            (unsigned long long)block->count);
    for (size_t i = 0; i < block->size; ++i) fprintf(file, "%02x", block->code[i]);
    fputc('\n', file);
  }
  if (fclose(file)) {
    perror(out);
    exit(1);
  }
}

static void system_call(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t argument,
                        uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6,
                        uint64_t a7, uint64_t a8) {
  (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number != GETPGID) return;
  int32_t mark = (int32_t)argument;
  if (mark == MARK_BEGIN)
    for (struct block* block = blocks; block; block = block->next) block->count = 0;
  else if (mark == MARK_END)
    write_counts();
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc,
                               char** argv) {
  (void)info;
  for (int i = 0; i < argc; ++i)
    if (!strncmp(argv[i], "out=", 4)) out = strdup(argv[i] + 4);
  if (!out) {
    fputs("blocks: out=FILE is missing\n", stderr);
    return -1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, system_call);
  return 0;
}
