/* An OpenCL driver that fails on demand: the machine's own, with its calls passing through here.
 *
 * It is loaded by the ICD loader like any driver (OCL_ICD_VENDORS names the folder of an .icd file with its path), takes the
 * first platform of the driver behind it, and puts its own functions into that driver's table, which every object points to.
 * So whatever goes through the loader can be failed, counted and changed, calls of CLBlast among them. A program that also
 * links it arms it by these functions; a command takes the environment:
 *
 *   FAULTY_CL_DRIVER   the driver behind; default: the first one that the system names
 *   FAULTY_CL_FAIL     "37" or "37+" (and all after it), or "37+:-5" with an error code; "2@clBuildProgram": the second call
 *                      of that function
 *   FAULTY_CL_LOG      what the compiler has to say of a program whose building was made to fail
 *   FAULTY_CL_MEMORY   bytes of memory that there are, a quarter of it for one buffer
 *   FAULTY_CL_GROUP    the largest work-group
 *   FAULTY_CL_FP64     "off"
 *   FAULTY_CL_WIDTH    floats in a vector
 *   FAULTY_CL_VERSION  "OpenCL 1.2 ..."
 *   FAULTY_CL_DUMP     a folder that gets every source that is built, under its FNV-1a hash, and the names of all kernels
 *                      that are made, in the file "kernels"
 *   FAULTY_CL_REPLACE  a folder of sources under the hashes of those that they are built in place of */
#ifndef MGN_TESTS_FAULTY_CL_H
#define MGN_TESTS_FAULTY_CL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAULTY_CL_API __attribute__((visibility("default")))

/** From now on call number `n` (from 1; 0: none) fails with `code`, or with its own usual code where that is 0; with `all`,
 *  so do all after it. Calls that release never fail. */
FAULTY_CL_API void faulty_cl_arm(uint64_t n, bool all, int code);
/** Nothing fails any more. Returns how many calls there were. */
FAULTY_CL_API uint64_t faulty_cl_disarm(void);
FAULTY_CL_API bool faulty_cl_has_struck(void);
/** The function that failed first. */
FAULTY_CL_API const char *faulty_cl_struck_in(void);
/** Contexts, queues, buffers, programs, kernels and events that were made and not released. */
FAULTY_CL_API int64_t faulty_cl_live(void);
/** Bytes of buffers now, and of all that were made since the start. */
FAULTY_CL_API uint64_t faulty_cl_bytes(void);

/** What the device claims to be; zeros and NULL leave it as it is. */
typedef struct faulty_cl_device {
    uint64_t memory;
    size_t group;
    unsigned width; /**< of vectors, in floats */
    bool no_fp64;
    const char *version; /**< of device and platform; borrowed */
} faulty_cl_device;
FAULTY_CL_API void faulty_cl_pretend(const faulty_cl_device *device);

#endif
