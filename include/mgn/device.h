/* Devices and the tensors that live on them. */
#ifndef MGN_DEVICE_H
#define MGN_DEVICE_H

#include <mgn/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Tensors are contiguous, row-major, of rank 0..MGN_MAX_RANK. */
enum { MGN_MAX_RANK = 4 };

typedef enum mgn_dtype {
    MGN_F32, /**< IEEE single: what models are trained and applied in */
    MGN_F64, /**< IEEE double: the reference everything is judged by */
    MGN_U32  /**< indices and random-generator states */
} mgn_dtype;

/** Bytes of one element. */
MGN_API size_t mgn_dtype_size(mgn_dtype dtype);
MGN_API const char *mgn_dtype_name(mgn_dtype dtype);

typedef struct mgn_shape {
    int rank;
    int64_t dim[MGN_MAX_RANK];
} mgn_shape;

/** Elements of a shape; 1 for rank 0. */
MGN_API int64_t mgn_shape_count(mgn_shape shape);

/** One device as `mgn devices` lists it. */
typedef struct mgn_device_info {
    char spec[32]; /**< what --device takes: "cpu", "opencl:0:0" */
    char name[128];
    char platform[128];
    char version[128];     /**< driver and API version */
    uint64_t memory_bytes; /**< global memory */
    int compute_units;
    bool is_cpu; /**< runs on the host's own cores */
    bool has_f64;
} mgn_device_info;

typedef struct mgn_device mgn_device;
typedef struct mgn_tensor mgn_tensor;

/** Fills up to `capacity` entries (the CPU backend first) and the number there are in all. */
MGN_API mgn_status mgn_device_list(mgn_device_info *infos, size_t capacity, size_t *count);

/** Opens `spec`: "cpu", "opencl" (the best OpenCL device), "opencl:P:D", "auto", or NULL for MGN_DEVICE, else "auto".
 *  "auto" takes an OpenCL GPU where there is one and the CPU backend otherwise.
 *  A handle may be used from one thread at a time. Errors: ARGUMENT (no such device), DEVICE. */
MGN_API mgn_status mgn_device_open(const char *spec, mgn_device **device);
MGN_API void mgn_device_close(mgn_device *device);
MGN_API const mgn_device_info *mgn_device_get_info(const mgn_device *device);

/** Waits until everything enqueued has run. Errors of the device surface here at the latest. */
MGN_API mgn_status mgn_device_finish(mgn_device *device);

/** Whether something has failed for want of the device's memory since the last time that this was asked: smaller pieces of
 *  the same work may fit then. Drivers that allocate when a command runs say so as late as there, some by a status DEVICE. */
MGN_API bool mgn_device_was_short(mgn_device *device);

/** A zeroed tensor on a device; outlived by the device. */
MGN_API mgn_status mgn_tensor_create(mgn_device *device, mgn_dtype dtype, mgn_shape shape, mgn_tensor **tensor);
MGN_API void mgn_tensor_destroy(mgn_tensor *tensor);
MGN_API mgn_shape mgn_tensor_shape(const mgn_tensor *tensor);
MGN_API mgn_dtype mgn_tensor_dtype(const mgn_tensor *tensor);

/** Copies all elements, converting between float and double where the two types differ. Both wait. */
MGN_API mgn_status mgn_tensor_write(mgn_tensor *tensor, mgn_dtype source_dtype, const void *source);
MGN_API mgn_status mgn_tensor_read(const mgn_tensor *tensor, mgn_dtype target_dtype, void *target);

#ifdef __cplusplus
}
#endif
#endif
