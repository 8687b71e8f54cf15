#include "team.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

struct mgn_test_team {
    pthread_barrier_t barrier;
    int size;
    struct {
        const void *bytes;
        const int64_t *sizes, *offsets;
    } posted[MGN_TEST_MOST_RANKS];
};

static void meet(const mgn_test_member *m) { pthread_barrier_wait(&m->team->barrier); }

/* All see what all posted, until the next meeting. */
static void post(const mgn_test_member *m, const void *bytes, const int64_t *sizes, const int64_t *offsets) {
    m->team->posted[m->comm.rank].bytes = bytes;
    m->team->posted[m->comm.rank].sizes = sizes;
    m->team->posted[m->comm.rank].offsets = offsets;
    meet(m);
}

static mgn_status take_max(void *context, int32_t *values, int count) {
    const mgn_test_member *m = context;
    int32_t most[8];
    ck_assert_int_le(count, 8);
    post(m, values, NULL, NULL);
    memcpy(most, values, (size_t)count * sizeof *most);
    for (int r = 0; r < m->team->size; r++)
        for (int i = 0; i < count; i++) {
            const int32_t other = ((const int32_t *)m->team->posted[r].bytes)[i];
            if (other > most[i]) most[i] = other;
        }
    meet(m);
    memcpy(values, most, (size_t)count * sizeof *most);
    return MGN_OK;
}

static mgn_status gather(void *context, const void *own, const int64_t *sizes, const int64_t *offsets, void *all) {
    const mgn_test_member *m = context;
    post(m, own, NULL, NULL);
    for (int r = 0; r < m->team->size; r++)
        if (sizes[r]) memcpy((char *)all + offsets[r], m->team->posted[r].bytes, (size_t)sizes[r]);
    meet(m);
    return MGN_OK;
}

static mgn_status exchange(void *context, const void *to, const int64_t *to_sizes, const int64_t *to_offsets,
                           void *from, const int64_t *from_sizes, const int64_t *from_offsets) {
    const mgn_test_member *m = context;
    const int rank = m->comm.rank;
    post(m, to, to_sizes, to_offsets);
    for (int r = 0; r < m->team->size; r++) {
        ck_assert_int_eq(m->team->posted[r].sizes[rank], from_sizes[r]);
        const char *sent = (const char *)m->team->posted[r].bytes + m->team->posted[r].offsets[rank];
        if (from_sizes[r]) memcpy((char *)from + from_offsets[r], sent, (size_t)from_sizes[r]);
    }
    meet(m);
    return MGN_OK;
}

static mgn_status broadcast(void *context, void *bytes, int64_t size) {
    const mgn_test_member *m = context;
    post(m, bytes, NULL, NULL);
    if (m->comm.rank > 0) memcpy(bytes, m->team->posted[0].bytes, (size_t)size);
    meet(m);
    return MGN_OK;
}

static void join_team(mgn_test_member *m, mgn_test_team *group, int rank) {
    m->team = group;
    m->comm = (mgn_comm){.rank = rank,
                         .size = group->size,
                         .local_size = group->size,
                         .local_rank = rank,
                         .context = m,
                         .max = take_max,
                         .gather = gather,
                         .exchange = exchange,
                         .broadcast = broadcast};
}

void mgn_test_team_run(mgn_test_member *const *members, int size, void *(*run)(void *), void *tasks, size_t task_size) {
    mgn_test_team *group = calloc(1, sizeof *group);
    pthread_t threads[MGN_TEST_MOST_RANKS];
    ck_assert_ptr_nonnull(group);
    ck_assert_int_le(size, MGN_TEST_MOST_RANKS);
    group->size = size;
    pthread_barrier_init(&group->barrier, NULL, (unsigned)size);
    for (int r = 0; r < size; r++) join_team(members[r], group, r);
    for (int r = 0; r < size; r++)
        ck_assert_int_eq(pthread_create(&threads[r], NULL, run, (char *)tasks + (size_t)r * task_size), 0);
    for (int r = 0; r < size; r++) pthread_join(threads[r], NULL);
    pthread_barrier_destroy(&group->barrier);
    free(group);
}
