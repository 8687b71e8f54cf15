/* What a training is cut into where the device has no memory for it as it was asked for. */
#ifndef MGN_HOST_CUT_H
#define MGN_HOST_CUT_H

#include <mgn/data.h>
#include <mgn/train.h>

/* Both change where numbers are computed; only blocks change how they are added up, and so the last bits. */
typedef struct mgn_cut {
    int64_t blocks; /* of a batch; 0: a step is one plan. As mgn_train_config's, or more */
    bool is_paged;  /* the rows stay on the host, and a step's come to the device with it */
} mgn_cut;

struct mgn_trainer;

/* How a training begins: as its options say, or as the checkpoint that it goes on from was cut. A file that is no checkpoint
 * is for who loads it. Errors: FORMAT, MEMORY. */
mgn_status mgn_cut_begin(const mgn_train_config *config, mgn_cut *cut);

/* After `trainer` failed with *status: whether a finer cut may do, which is then in `cut`. Where it cannot be cut, says why in
 * *status's sentence. */
bool mgn_cut_more(const struct mgn_trainer *trainer, mgn_status *status, mgn_cut *cut);

/* Tells the user what was cut, of batches of so many rows, and stores in a checkpoint's metadata what its bits depend on. */
void mgn_cut_note(const mgn_cut *cut, const mgn_train_config *config, mgn_device *device, int64_t batch);
mgn_status mgn_cut_store(const mgn_train_config *config, const mgn_cut *cut, mgn_safetensors *file);

#endif
