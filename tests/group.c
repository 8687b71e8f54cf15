#include "group.h"

#include <stdio.h>
#include <stdlib.h>

#include "comm/blocks_sum.h"
#include "comm/mpi.h"
#include "harness.h"

enum { PATIENCE = 60, BLOCKS = 4 }; /* seconds until a process gives up others, whose tests have failed */

static mgn_comm *group;

static void leave(void) { mgn_mpi_close(group); }

void mgn_test_join(void) {
    if (mgn_mpi_open(&group) != MGN_OK || (group && atexit(leave) != 0)) {
        printf("FAIL: joining the group: %s\n", mgn_last_error());
        exit(1);
    }
    if (!group) return;
    mgn_test_without_forks = true;
    setenv("MGN_MPI", "no", 1);
    group->timeout = PATIENCE;
    printf("mgn-test: rank %d of %d\n", group->rank, group->size);
}

void mgn_test_share(mgn_train_config *config) {
    if (!group) return;
    ck_assert_msg(!group->is_broken, "the other processes are gone");
    group->is_over = false;
    config->comm = group;
    config->blocks = BLOCKS;
}
