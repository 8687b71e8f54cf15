/* The training that checkpoint.c loads states of and seeds.c writes one of. */
#ifndef MGN_TESTS_FUZZ_CHECKPOINT_H
#define MGN_TESTS_FUZZ_CHECKPOINT_H

#include "train/session.h"

enum { FUZZ_MOST_PARAMETERS = 64 };

typedef struct fuzz_session {
    mgn_session session;
    mgn_model *model;
    mgn_device *device;
    mgn_samples samples;
    mgn_train_config config;
    mgn_train_result result;
    float parameters[FUZZ_MOST_PARAMETERS];
    double scalars[2], values[FUZZ_MOST_PARAMETERS];
    uint32_t random[4];
} fuzz_session;

/* Everything before mgn_session_begin. `f` stays where it is. */
void fuzz_checkpoint_session(fuzz_session *f, const char *resume, const char *checkpoint);
mgn_status fuzz_checkpoint_measure(void *context, double *loss, double *cost);
void fuzz_checkpoint_end(fuzz_session *f, mgn_status status);

#endif
