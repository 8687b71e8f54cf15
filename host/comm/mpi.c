/* The group of <mgn/comm.h> over MPI. Every exchange is begun and then looked after until a deadline, where there is one: of a
 * link that is cut MPI itself says nothing for minutes, or ever. MPI is started only where a launcher says that it started this process, so that the
 * command alone pays nothing for it. Counts of MPI are ints: longer messages are refused, which takes a model of more than
 * 2^31 bytes. */
#define _GNU_SOURCE
#include "comm/mpi.h"

#include <stdlib.h>
#include <string.h>

#include "comm/comm.h"

/* How many processes the launcher started, 2 where it does not say; 0 where this one was started alone, or is to work alone. What
 * launchers set: Open MPI's and others' that speak PMIx, PMI (MPICH, Intel), Slurm's own. */
static mgn_status count_launched(int *count) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_SIZE", "PMI_RANK"};
    const char *asked = mgn_environment("MGN_MPI");
    *count = 0;
    if (asked && strcmp(asked, "yes") != 0 && strcmp(asked, "no") != 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "MGN_MPI is yes, or no for a process that works alone; '%.20s' was found",
                        asked);
    if (asked && strcmp(asked, "no") == 0) return MGN_OK;
    for (size_t i = 0; i < MGN_COUNT(names); i++) {
        const char *text = mgn_environment(names[i]);
        if (!text) continue;
        *count = i == 0 || i == 2 ? atoi(text) : 2;
        break;
    }
    return MGN_OK;
}

#ifdef MGN_MPI
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

typedef struct group {
    mgn_comm comm;
    int *counts; /* 4 lists of `size` ints */
} group;

static mgn_status check(int code, const char *what) {
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    if (code == MPI_SUCCESS) return MGN_OK;
    MPI_Error_string(code, text, &length);
    return mgn_fail(MGN_ERR_IO, "MPI could not %s: %.*s", what, length, text);
}

/* What was begun with `code`. Every exchange begins with an agreement, where processes wait for slower ones: for microseconds on
 * the way, for hours where one of them does a command's work alone. The longer that takes the less of a core it costs. What follows
 * it moves as often as it is looked at, and is looked at all the time. */
static mgn_status finish(const group *g, int code, MPI_Request *request, bool is_agreement, const char *what) {
    static const double spinning = 50e-6, yielding = 2e-3, longest = 2e-3;
    const double start = mgn_now();
    MGN_TRY(check(code, what));
    for (;;) {
        int is_done = 0;
        MGN_TRY(check(MPI_Test(request, &is_done, MPI_STATUS_IGNORE), what));
        if (is_done) return MGN_OK;
        const double waited = mgn_now() - start, nap = fmin(waited / 16, longest);
        if (g->comm.timeout > 0 && waited > g->comm.timeout)
            return mgn_fail(MGN_ERR_IO,
                            "rank %d of %d waited %g seconds for the other processes: one of them is gone or out of "
                            "reach, or --comm-timeout is too short",
                            g->comm.rank, g->comm.size, g->comm.timeout);
        if (waited > yielding && is_agreement)
            nanosleep(&(struct timespec){.tv_nsec = (long)(nap * 1e9)}, NULL);
        else if (waited > spinning)
            sched_yield();
    }
}

static mgn_status take_max(void *context, int32_t *values, int count) {
    MPI_Request request;
    return finish(context, MPI_Iallreduce(MPI_IN_PLACE, values, count, MPI_INT32_T, MPI_MAX, MPI_COMM_WORLD, &request),
                  &request, true, "agree");
}

/* As ints, to list number `list`. */
static mgn_status to_ints(group *g, int list, const int64_t *values, int **ints) {
    *ints = g->counts + list * g->comm.size;
    for (int r = 0; r < g->comm.size; r++) {
        if (values[r] > INT32_MAX) {
            (void)mgn_fail(MGN_ERR_UNSUPPORTED, "a message of %lld bytes is too long for MPI", (long long)values[r]);
            return MGN_ERR_UNSUPPORTED;
        }
        (*ints)[r] = (int)values[r];
    }
    return MGN_OK;
}

static mgn_status gather(void *context, const void *own, const int64_t *sizes, const int64_t *offsets, void *all) {
    group *g = context;
    int *counts, *places;
    MGN_TRY(to_ints(g, 0, sizes, &counts));
    MGN_TRY(to_ints(g, 1, offsets, &places));
    MPI_Request request;
    return finish(
        g,
        MPI_Iallgatherv(own, counts[g->comm.rank], MPI_BYTE, all, counts, places, MPI_BYTE, MPI_COMM_WORLD, &request),
        &request, false, "gather");
}

static mgn_status exchange(void *context, const void *to, const int64_t *to_sizes, const int64_t *to_offsets,
                           void *from, const int64_t *from_sizes, const int64_t *from_offsets) {
    group *g = context;
    const int64_t *const lists[] = {to_sizes, to_offsets, from_sizes, from_offsets};
    int *ints[4];
    for (int i = 0; i < 4; i++) MGN_TRY(to_ints(g, i, lists[i], &ints[i]));
    MPI_Request request;
    return finish(
        g, MPI_Ialltoallv(to, ints[0], ints[1], MPI_BYTE, from, ints[2], ints[3], MPI_BYTE, MPI_COMM_WORLD, &request),
        &request, false, "exchange");
}

static mgn_status broadcast(void *context, void *bytes, int64_t size) {
    enum { PIECE = 1 << 30 };
    for (int64_t at = 0; at < size; at += PIECE) {
        const int piece = (int)MGN_MIN(PIECE, size - at);
        MPI_Request request;
        MGN_TRY(finish(context, MPI_Ibcast((char *)bytes + at, piece, MPI_BYTE, 0, MPI_COMM_WORLD, &request), &request,
                       false, "broadcast"));
    }
    return MGN_OK;
}

static void describe(group *g) {
    mgn_comm *c = &g->comm;
    MPI_Comm machine;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &c->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &c->size);
    c->local_size = 1;
    if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine) != MPI_SUCCESS) return;
    MPI_Comm_rank(machine, &c->local_rank);
    MPI_Comm_size(machine, &c->local_size);
    MPI_Comm_free(&machine);
}

/* MPI starts once in each of the launcher's processes. Where that is a script, a second command would be ended by MPI itself, with
 * pages that do not say so: each leaves a mark in the launcher's own folder, which goes with it. Where that cannot be written
 * nothing is known. */
static mgn_status take_turn(void) {
    const char *folder = mgn_environment("PMIX_SERVER_TMPDIR"), *job = mgn_environment("PMIX_NAMESPACE"),
               *rank = mgn_environment("PMIX_RANK");
    char path[512];
    if (!folder || !job || !rank || strchr(job, '/') || strchr(rank, '/')) return MGN_OK;
    if (snprintf(path, sizeof path, "%s/mgn-%s-%s", folder, job, rank) >= (int)sizeof path) return MGN_OK;
    const int mark = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (mark >= 0) close(mark);
    if (mark >= 0 || errno != EEXIST) return MGN_OK;
    return mgn_fail(MGN_ERR_UNSUPPORTED,
                    "process %s of this mpirun has run an mgn that took part; start mpirun for each command, or let "
                    "the others work alone: MGN_MPI=no",
                    rank);
}

mgn_status mgn_mpi_open(mgn_comm **comm) {
    int count;
    *comm = NULL;
    MGN_TRY(count_launched(&count));
    if (count < 1) return MGN_OK;
    int provided;
    MGN_TRY(take_turn());
    MGN_TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), "start"));
    group *g = mgn_alloc(1, sizeof *g);
    if (!g) return MGN_ERR_MEMORY;
    g->comm = (mgn_comm){.context = g, .max = take_max, .gather = gather, .exchange = exchange, .broadcast = broadcast};
    describe(g);
    g->counts = mgn_alloc(4 * (size_t)g->comm.size, sizeof *g->counts);
    *comm = &g->comm;
    return g->counts ? MGN_OK : MGN_ERR_MEMORY;
}

void mgn_mpi_close(mgn_comm *comm) {
    if (!comm) return;
    group *g = comm->context;
    if (comm->is_broken) MPI_Abort(MPI_COMM_WORLD, 1);
    mgn_free(g->counts);
    mgn_free(g);
    MPI_Finalize();
}

#else

mgn_status mgn_mpi_open(mgn_comm **comm) {
    int count;
    *comm = NULL;
    MGN_TRY(count_launched(&count));
    if (count < 2) return MGN_OK;
    return mgn_fail(MGN_ERR_UNSUPPORTED,
                    "several processes were started, but this mgn was built without MPI; build it with -Dmpi=enabled");
}

void mgn_mpi_close(mgn_comm *comm) { (void)comm; }

#endif
