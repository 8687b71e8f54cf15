/* Learning curves as files that grow while training runs: a line after every epoch, .csv or .jsonl. */
#ifndef MGN_HOST_CURVE_H
#define MGN_HOST_CURVE_H

#include <mgn/train.h>

typedef struct mgn_curve mgn_curve;

/* `epoch` < 0: a new file. Else an existing one is cut after the line of that epoch, together with a torn line, and goes
 * on there. Errors: ARGUMENT (another ending), IO. */
mgn_status mgn_curve_open(const char *path, int64_t epoch, mgn_curve **curve);
/* Cuts off the lines of later epochs. */
mgn_status mgn_curve_cut(mgn_curve *curve, int64_t epoch);
/* One line in one write. */
mgn_status mgn_curve_add(mgn_curve *curve, const mgn_train_report *report);
void mgn_curve_close(mgn_curve *curve);

#endif
