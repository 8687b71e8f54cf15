/* Processes of a group, played by threads: what carries their messages is memory. */
#ifndef MGN_TEST_TEAM_H
#define MGN_TEST_TEAM_H

#include <mgn/comm.h>

enum { MGN_TEST_MOST_RANKS = 8 };

typedef struct mgn_test_team mgn_test_team;

typedef struct mgn_test_member {
    mgn_comm comm;
    mgn_test_team *team;
} mgn_test_member;

/* Makes a group of `size` members, whose comms the tasks use, and runs a thread for each on its task, `task_size` bytes after the
 * one before. Returns when all have ended. */
void mgn_test_team_run(mgn_test_member *const *members, int size, void *(*run)(void *), void *tasks, size_t task_size);

#endif
