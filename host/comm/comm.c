#include "comm/comm.h"

#include <stdio.h>
#include <string.h>

enum { SENTENCE = 640 };

typedef struct report {
    int32_t status;
    char sentence[SENTENCE];
} report;

/* After one of them failed: who and why. */
static mgn_status share_failure(mgn_comm *comm, mgn_status status) {
    report own = {.status = (int32_t)status}, *all = mgn_alloc((size_t)comm->size, sizeof *all);
    if (status != MGN_OK) snprintf(own.sentence, sizeof own.sentence, "%s", mgn_last_error());
    int64_t *sizes = mgn_alloc(2 * (size_t)comm->size, sizeof *sizes);
    comm->is_over = true;
    if (!all || !sizes) { /* the others wait for this one's report all the same: what carries it ends them */
        comm->is_broken = true;
        mgn_free(all);
        mgn_free(sizes);
        return MGN_ERR_MEMORY;
    }
    int64_t *offsets = sizes + comm->size;
    for (int r = 0; r < comm->size; r++) sizes[r] = sizeof own, offsets[r] = r * (int64_t)sizeof own;
    mgn_status shared = comm->gather(comm->context, &own, sizes, offsets, all);
    if (shared != MGN_OK) comm->is_broken = true;
    for (int r = 0; r < comm->size && shared == MGN_OK; r++) {
        if (all[r].status == MGN_OK) continue;
        all[r].sentence[SENTENCE - 1] = 0;
        bool is_everybodys = true;
        for (int k = 0; k < comm->size; k++) is_everybodys = is_everybodys && all[k].status == all[r].status;
        const mgn_status found = (mgn_status)all[r].status;
        shared = is_everybodys || comm->size == 1
                     ? mgn_fail(found, "%s", all[r].sentence)
                     : mgn_fail(found, "rank %d of %d: %s", r, comm->size, all[r].sentence);
    }
    mgn_free(all);
    mgn_free(sizes);
    return shared;
}

mgn_status mgn_comm_agree_any(mgn_comm *comm, mgn_status status, bool *flag) {
    if (!comm || comm->is_over) return status;
    int32_t values[2] = {status != MGN_OK, flag && *flag};
    const mgn_status asked = comm->max(comm->context, values, 2);
    if (asked != MGN_OK) {
        comm->is_over = comm->is_broken = true;
        return status != MGN_OK ? status : asked;
    }
    if (flag) *flag = values[1] != 0;
    return values[0] ? share_failure(comm, status) : MGN_OK;
}

mgn_status mgn_comm_agree(mgn_comm *comm, mgn_status status) { return mgn_comm_agree_any(comm, status, NULL); }

mgn_status mgn_comm_same(mgn_comm *comm, uint64_t digest, const char *what) {
    if (!comm || comm->is_over) return MGN_OK;
    uint64_t first = digest;
    MGN_TRY(mgn_comm_agree(comm, MGN_OK));
    MGN_TRY(mgn_comm_broadcast(comm, &first, sizeof first));
    return mgn_comm_agree(
        comm, first == digest ? MGN_OK
                              : mgn_fail(MGN_ERR_ARGUMENT,
                                         "%s are not those of rank 0; all processes must be given the same", what));
}

mgn_status mgn_comm_broadcast(mgn_comm *comm, void *bytes, size_t size) {
    if (!comm || comm->is_over || size == 0) return MGN_OK;
    const mgn_status status = comm->broadcast(comm->context, bytes, (int64_t)size);
    if (status != MGN_OK) comm->is_over = comm->is_broken = true;
    return status;
}

mgn_status mgn_comm_gather(mgn_comm *comm, const void *own, int64_t *sizes, void *all) {
    if (!comm || comm->size == 1) {
        memcpy(all, own, (size_t)sizes[0]);
        return MGN_OK;
    }
    if (comm->is_over) return MGN_OK;
    int64_t *offsets = sizes + comm->size;
    for (int r = 0; r < comm->size; r++) offsets[r] = r ? offsets[r - 1] + sizes[r - 1] : 0;
    const mgn_status status = comm->gather(comm->context, own, sizes, offsets, all);
    if (status != MGN_OK) comm->is_over = comm->is_broken = true;
    return status;
}
