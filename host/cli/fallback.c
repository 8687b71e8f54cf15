#include "fallback.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "comm/comm.h"
#include "core/core.h"
#include "core/progress.h"

/* A file is replaced by another one, whose number may be one that was free again: the time tells them apart then. */
typedef struct identity {
    ino_t number; /* 0: there is no file */
    struct timespec changed;
} identity;

struct cli_kept {
    cli_kept *next;
    char *path;
    identity before;
};

static identity identify(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 ? (identity){about.st_ino, about.st_ctim} : (identity){0};
}

static bool is_new(const cli_kept *kept) {
    const identity now = identify(kept->path);
    return now.number && (now.number != kept->before.number || now.changed.tv_sec != kept->before.changed.tv_sec ||
                          now.changed.tv_nsec != kept->before.changed.tv_nsec);
}

bool cli_may_fall_back(const cli_command *command) {
    static const char *const about_devices[] = {"bench", "check", "devices", "tune"};
    for (size_t i = 0; i < MGN_COUNT(about_devices); i++)
        if (strcmp(command->label, about_devices[i]) == 0) return false;
    return true;
}

/* ---- devices ---- */

/* One that this machine has not, or does not have any more; other words are mistakes. */
static bool is_named(const char *spec) {
    unsigned platform, device;
    char end;
    return strcmp(spec, "opencl") == 0 || sscanf(spec, "opencl:%u:%u%c", &platform, &device, &end) == 2;
}

mgn_status cli_fallback_open(cli_fallback *fallback, const char *spec, mgn_device **device) {
    if (!fallback) return mgn_device_open(spec, device);
    if (fallback->is_second) return mgn_device_open("cpu", device);
    const mgn_status status = mgn_device_open(spec, device);
    if (status == MGN_OK) {
        const mgn_device_info *info = mgn_device_get_info(*device);
        fallback->uses_device = strcmp(info->spec, "cpu") != 0;
        fallback->lacks_float64 = !info->has_f64;
        return MGN_OK;
    }
    const char *asked = spec ? spec : mgn_environment("MGN_DEVICE");
    if (status == MGN_ERR_INTERRUPTED || (status == MGN_ERR_ARGUMENT && !(asked && is_named(asked)))) return status;
    if (fallback->spec) {
        mgn_note("%s; the cpu is taken instead", mgn_last_error());
        return mgn_device_open("cpu", device);
    }
    fallback->lacks_device = true;
    return status;
}

/* ---- checkpoints ---- */

/* The last one that this command has written; NULL: none. */
static const cli_kept *last_written(const cli_fallback *fallback) {
    const cli_kept *kept = fallback->kept;
    while (kept && !is_new(kept)) kept = kept->next;
    return kept;
}

bool cli_fallback_has_float64(const cli_fallback *fallback, const mgn_device *device) {
    if (fallback && fallback->is_second && fallback->lacks_float64 && last_written(fallback)) return false;
    return mgn_device_get_info(device)->has_f64;
}

static mgn_status out_of_memory(void) { return mgn_fail(MGN_ERR_MEMORY, "out of memory for the name of a checkpoint"); }

mgn_status cli_fallback_checkpoint(cli_fallback *fallback, const char *path, const char **resume) {
    if (!fallback) return MGN_OK;
    for (const cli_kept *kept = fallback->kept; kept; kept = kept->next)
        if (strcmp(kept->path, path) == 0) {
            if (fallback->is_second && is_new(kept)) *resume = kept->path;
            return MGN_OK;
        }
    if (fallback->is_second) return MGN_OK;
    cli_kept *kept = mgn_alloc(1, sizeof *kept);
    if (!kept) return out_of_memory();
    *kept = (cli_kept){fallback->kept, mgn_strdup(path), identify(path)};
    fallback->kept = kept;
    mgn_free(fallback->resumed);
    fallback->resumed = *resume ? mgn_strdup(*resume) : NULL;
    return kept->path && (!*resume || fallback->resumed) ? MGN_OK : out_of_memory();
}

static void forget(cli_fallback *fallback) {
    mgn_free(fallback->resumed);
    for (cli_kept *kept = fallback->kept, *next; kept; kept = next) {
        next = kept->next;
        mgn_free(kept->path);
        mgn_free(kept);
    }
}

/* ---- the two runs ---- */

static bool is_trouble(const cli_fallback *fallback, mgn_status status) {
    if (fallback->is_second || status == MGN_OK) return false;
    return fallback->lacks_device || (fallback->uses_device && (status == MGN_ERR_DEVICE || status == MGN_ERR_MEMORY));
}

bool cli_will_run_again(const cli_fallback *fallback, mgn_status status) {
    return fallback && fallback->spec && is_trouble(fallback, status);
}

/* After a failure that all processes know of they do the same again, or none does: where one of them had trouble with its
 * device, and all were given --fallback. */
static bool runs_again(const cli_fallback *fallback, mgn_comm *comm, bool *had_trouble) {
    bool is_refused = !fallback->spec;
    if (comm) {
        if (comm->is_broken || !comm->is_over) return *had_trouble = false;
        comm->is_over = false;
        if (mgn_comm_agree_any(comm, MGN_OK, had_trouble) != MGN_OK) return false;
        if (mgn_comm_agree_any(comm, MGN_OK, &is_refused) != MGN_OK) return false;
        comm->is_over = !*had_trouble || is_refused;
    }
    return *had_trouble && !is_refused;
}

static void tell(const cli_fallback *fallback) {
    const cli_kept *kept = last_written(fallback);
    mgn_bar(NULL);
    if (kept)
        mgn_note("%s; the cpu goes on from the checkpoint %s", mgn_last_error(), kept->path);
    else
        mgn_note("%s; the cpu starts again from %s", mgn_last_error(),
                 fallback->resumed ? fallback->resumed : "the beginning");
}

mgn_status cli_run_with_fallback(const cli_command *command, int argc, char **argv) {
    cli_fallback fallback = {0};
    cli_command own = *command;
    own.fallback = &fallback;
    mgn_status status = mgn_comm_agree(own.comm, own.run(&own, argc, argv));
    bool had_trouble = is_trouble(&fallback, status);
    if (status != MGN_OK && runs_again(&fallback, own.comm, &had_trouble)) {
        tell(&fallback);
        fallback.is_second = true;
        status = own.run(&own, argc, argv);
    } else if (status != MGN_OK && had_trouble) {
        status = mgn_fail(status, "%s; with --fallback cpu the cpu takes over", mgn_last_error());
    }
    forget(&fallback);
    return status;
}
