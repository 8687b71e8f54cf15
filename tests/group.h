/* The processes that this test program was started with, as a group. Each runs the same tests, which make the same calls in the
 * same order; where something is learned, all of them learn it together. */
#ifndef MGN_TEST_GROUP_H
#define MGN_TEST_GROUP_H

#include <mgn/train.h>

/** In main, before other calls: joins the group. Then the program runs without forks, for MPI starts once in a process, and
 *  the commands that it starts work alone. */
void mgn_test_join(void);

/** Has the training done by the group, in blocks; started alone, leaves it as it is. What failed on all processes before, as a
 *  test wanted, counts no more. */
void mgn_test_share(mgn_train_config *config);

#endif
