#include "core/random.h"

#include <Random123/philox.h>
#include <math.h>
#include <string.h>

#include "mgn_random.h"

static double uniform_of(uint32_t high, uint32_t low) {
    uint64_t bits = ((uint64_t)high << 32 | low) >> 12;
    return ((double)bits + 0.5) * 0x1p-52;
}

static philox4x32_ctr_t block(uint64_t seed, uint32_t stream, uint64_t index) {
    philox4x32_ctr_t counter = {{(uint32_t)index, (uint32_t)(index >> 32), stream, 0x686f7374u /* "host" */}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    return philox4x32(counter, key);
}

double mgn_host_uniform(uint64_t seed, uint32_t stream, uint64_t index) {
    philox4x32_ctr_t b = block(seed, stream, index);
    return uniform_of(b.v[0], b.v[1]);
}

double mgn_host_normal(uint64_t seed, uint32_t stream, uint64_t index) {
    philox4x32_ctr_t b = block(seed, stream, index);
    double radius = sqrt(-2 * log(uniform_of(b.v[0], b.v[1])));
    return radius * cos(6.283185307179586477 * uniform_of(b.v[2], b.v[3]));
}

_Static_assert(sizeof(m_shuffle_key) <= sizeof(mgn_host_shuffle), "a key has room");

mgn_host_shuffle mgn_host_shuffle_start(uint64_t seed, uint32_t epoch, uint32_t population) {
    const m_shuffle_key key = m_shuffle_start((uint32_t)seed, (uint32_t)(seed >> 32), epoch, population);
    mgn_host_shuffle shuffle = {{0}};
    memcpy(&shuffle, &key, sizeof key);
    return shuffle;
}

uint32_t mgn_host_shuffle_at(const mgn_host_shuffle *shuffle, uint32_t position) {
    m_shuffle_key key;
    memcpy(&key, shuffle, sizeof key);
    return m_shuffle(key, position);
}
