/* Device memory between values that must survive: what a kernel writes beside its results shows, and what it reads beside
 * its operands is no number. */
#ifndef MGN_CHECK_GUARDS_H
#define MGN_CHECK_GUARDS_H

#include "backend/backend.h"
#include "check/judge.h"

/** Elements in front of an operand and behind it: an offset that suits no vector's width. */
enum { MGN_GUARD = 37 };

/** A block of device memory and what the host put there. */
typedef struct mgn_guarded {
    mgn_memory *memory;
    mgn_dtype dtype;
    unsigned char *bytes;
    size_t count; /**< elements, guards included */
} mgn_guarded;

/** Where an operand's element number `flat` lies, in elements. */
size_t mgn_guarded_position(const mgn_operand *operand, int64_t flat);
double mgn_guarded_load(const unsigned char *bytes, mgn_dtype dtype, size_t i);

/** Host memory for `elements` between guards, which is all guards yet: numbers around a result, else none. */
mgn_status mgn_guarded_make(mgn_guarded *g, mgn_dtype dtype, size_t elements, bool result);
/** Puts an operand's values where it lies. */
void mgn_guarded_put(mgn_guarded *g, const mgn_operand *operand, const double *values);
/** Makes the memory of a device and copies the block there. */
mgn_status mgn_guarded_send(mgn_device *device, mgn_guarded *g);
/** All of that for one operand of `elements` from MGN_GUARD on, which gets the memory. `values` NULL: a result. */
mgn_status mgn_guarded_place(mgn_device *device, mgn_guarded *g, mgn_operand *operand, size_t elements,
                             const double *values);
/** Reads a block back into g->bytes and compares everything outside of the operands' elements with what was written. */
mgn_status mgn_guarded_judge(mgn_device *device, mgn_guarded *g, const mgn_operand *operands, size_t count,
                             const char *label, mgn_worst *worst);
void mgn_guarded_release(mgn_device *device, mgn_guarded *g);

#endif
