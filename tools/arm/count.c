/* A plugin for QEMU's user-mode emulators (plugin API 1, QEMU 7.2) that counts guest instructions.
 *
 * Whenever the guest asks for its parent's process id it writes the count so far to stderr, as "counted N": two calls of
 * os.getppid() mark off what stands between them. That call is one that programs hardly ever make by themselves, that the
 * C library always passes on to the kernel, and that valgrind can be told to look out for as well.
 *
 * The count does not depend on the machine that emulates or on what else it does. It is exact for one thread.
 *
 * The few declarations are QEMU's own (qemu-plugin.h); they stand here because Debian ships no such header.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef struct {
    const char *target_name;
    /* more follows that is of no use here */
} qemu_info_t;
struct qemu_plugin_tb;

enum { QEMU_PLUGIN_INLINE_ADD_U64 };

typedef void (*on_translation)(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void (*on_syscall)(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                           uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, on_translation callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int operation, void *counter, uint64_t value);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, on_syscall callback);

EXPORT int qemu_plugin_version = 1;

static const struct {
    const char *name;
    int64_t number;
} getppid_of[] = {{"aarch64", 173}, {"arm", 64}, {"x86_64", 110}};

static int64_t getppid_number;
static uint64_t executed;

static void count_block(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void) id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &executed, qemu_plugin_tb_n_insns(block));
}

static void report(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                   uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void) id, (void) cpu, (void) a1, (void) a2, (void) a3, (void) a4, (void) a5, (void) a6, (void) a7, (void) a8;
    if (number == getppid_number) fprintf(stderr, "counted %" PRIu64 "\n", executed);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    (void) argc, (void) argv;
    for (size_t i = 0; i < sizeof getppid_of / sizeof *getppid_of; i++) {
        if (strcmp(getppid_of[i].name, info->target_name) == 0) {
            getppid_number = getppid_of[i].number;
            qemu_plugin_register_vcpu_tb_trans_cb(id, count_block);
            qemu_plugin_register_vcpu_syscall_cb(id, report);
            return 0;
        }
    }
    fprintf(stderr, "count: the number of getppid on %s is not known\n", info->target_name);
    return 1;
}
