/* A training of a tiny model, of which the checkpoint is loaded; no step is made. */
#include "fuzz.h"

#include <math.h>

#include "core/core.h"
#include "fuzz_checkpoint.h"

void fuzz_checkpoint_session(fuzz_session *f, const char *resume, const char *checkpoint) {
    static const float rows[] = {0, 1, 2, 3};
    *f = (fuzz_session){.samples = {.x = rows, .n = 2}, .config = {.epochs = 4, .batch = 2, .real = MGN_F32}};
    const mgn_model_config shape = {.kind = "cmgn", .d = 2, .h = 2, .layers = 1};
    f->config.loss = (mgn_loss_config){.kind = "nll"};
    f->config.optimizer = (mgn_optimizer_config){.kind = "adam", .lr = 1e-3};
    f->config.control = (mgn_train_control){.resume = resume, .checkpoint = checkpoint, .retries = 1, .patience = 1};
    fuzz_check(mgn_model_create(&shape, 1, &f->model) == MGN_OK && mgn_device_open("cpu", &f->device) == MGN_OK,
               "no model");
    mgn_session_open(&f->session, f->model, f->device, &f->samples, &f->config, &f->result);
    f->session.batches = 3;
    f->session.measure = fuzz_checkpoint_measure;
    const int64_t count = mgn_model_parameter_count(f->model);
    fuzz_check(count <= FUZZ_MOST_PARAMETERS, "too many parameters");
    mgn_state_add_array(&f->session.state, "parameters", MGN_F32, count, f->parameters);
    mgn_state_add_array(&f->session.state, "scalars", MGN_F64, 2, f->scalars);
    mgn_state_add_array(&f->session.state, "random", MGN_U32, 4, f->random);
}

mgn_status fuzz_checkpoint_measure(void *context, double *loss, double *cost) {
    (void)context;
    *loss = *cost = NAN;
    return MGN_OK;
}

void fuzz_checkpoint_end(fuzz_session *f, mgn_status status) {
    (void)mgn_session_close(&f->session, status, f->values);
    mgn_model_destroy(f->model);
    mgn_device_close(f->device);
}

void fuzz_checkpoint(const uint8_t *bytes, size_t size) {
    fuzz_session f;
    fuzz_checkpoint_session(&f, fuzz_file(bytes, size), NULL);
    const mgn_status status = mgn_session_begin(&f.session, NULL, NULL);
    if (fuzz_succeeded(status)) {
        const mgn_train_point *p = &f.session.state.point;
        fuzz_check(p->epoch >= 0 && p->epoch <= 4 && p->batch >= 0 && p->batch < 3, "a place outside of the training");
        fuzz_check(isfinite(mgn_session_lr(&f.session)), "a learning rate that is not finite");
        (void)mgn_session_goes_on(&f.session);
    }
    fuzz_checkpoint_end(&f, MGN_ERR_ARGUMENT);
}
