/* Random numbers on the host, for starting values: counter based like those on the devices, in double. */
#ifndef MGN_HOST_RANDOM_H
#define MGN_HOST_RANDOM_H

#include <stdint.h>

/* N(0, 1) number `index` of the stream. */
double mgn_host_normal(uint64_t seed, uint32_t stream, uint64_t index);
/* Uniform number `index` of the stream, in (0, 1). */
double mgn_host_uniform(uint64_t seed, uint32_t stream, uint64_t index);

/* A permutation of 0 .. population - 1 that belongs to a seed and an epoch: the one of op shuffle. */
typedef struct mgn_host_shuffle {
    uint32_t key[16];
} mgn_host_shuffle;
mgn_host_shuffle mgn_host_shuffle_start(uint64_t seed, uint32_t epoch, uint32_t population);
/* What stands at `position` < population. */
uint32_t mgn_host_shuffle_at(const mgn_host_shuffle *shuffle, uint32_t position);

#endif
