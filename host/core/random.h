/* Random numbers on the host, for starting values: counter based like those on the devices, in double. */
#ifndef MGN_HOST_RANDOM_H
#define MGN_HOST_RANDOM_H

#include <stdint.h>

/* N(0, 1) number `index` of the stream. */
double mgn_host_normal(uint64_t seed, uint32_t stream, uint64_t index);
/* Uniform number `index` of the stream, in (0, 1). */
double mgn_host_uniform(uint64_t seed, uint32_t stream, uint64_t index);

#endif
