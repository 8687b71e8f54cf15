/* Checking programs: graphs whose ops run together, in kernels that are made for them. */
#ifndef MGN_HOST_CHECK_PROGRAMS_H
#define MGN_HOST_CHECK_PROGRAMS_H

#include "check/judge.h"

/* The name of program number `index` ("rows/random"); false past the last. */
bool mgn_program_check_label(size_t index, char label[48]);

/* Runs program `index` on the devices. Failures of checks and devices are results; only lack of memory is an error. */
mgn_status mgn_program_check_run(size_t index, const mgn_check_options *options, mgn_device *const *devices,
                                 size_t count, mgn_check_sink *sink);

#endif
