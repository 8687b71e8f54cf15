/* Uniform and normal numbers, shuffled batches, and the state's step: see mgn_random.h. */
#include "mgn_lanes.h"
#include "mgn_random.h"

#ifdef MGN_NUMBERS

/* Words of 4 blocks to a vector's width, in the order of their numbers. */
M_FUNCTION void draw(global const uint *state, uint stream, ulong block, uint *words) {
    for (uint b = 0; b < MGN_WIDTH; b++) {
        const philox4x32_ctr_t four =
            m_random_block(state[0], state[1], (uint)(block + b), state[2], state[3] ^ stream);
        for (uint j = 0; j < 4; j++) words[4 * b + j] = four.v[j];
    }
}

/* 4 MGN_WIDTH numbers from as many words. */
#ifdef MGN_NORMAL
M_FUNCTION void make(const uint *words, real *numbers) {
    for (uint part = 0; part < 2; part++) {
        const uint at = 2 * MGN_WIDTH * part;
        R x, y;
#if MGN_WIDTH == 1
        m_normal_of(words[at], words[at + 1], &x, &y);
        numbers[at] = x;
        numbers[at + 1] = y;
#else
        uint u[MGN_WIDTH], v[MGN_WIDTH];
        real first[MGN_WIDTH], second[MGN_WIDTH];
        for (uint l = 0; l < MGN_WIDTH; l++) {
            u[l] = words[at + 2 * l];
            v[l] = words[at + 2 * l + 1];
        }
        m_normal_of(MGN_VLOAD(u), MGN_VLOAD(v), &x, &y);
        MGN_VSTORE(x, first);
        MGN_VSTORE(y, second);
        for (uint l = 0; l < MGN_WIDTH; l++) {
            numbers[at + 2 * l] = first[l];
            numbers[at + 2 * l + 1] = second[l];
        }
#endif
    }
}
#else
M_FUNCTION void make(const uint *words, real *numbers) {
    for (uint part = 0; part < 4; part++) {
        const uint at = MGN_WIDTH * part;
        MGN_VSTORE(m_uniform_of(MGN_VLOAD(words + at)), numbers + at);
    }
}
#endif

MGN_KERNEL void numbers(global const uint *state, ulong state_at, global real *out, ulong out_at, ulong count,
                        ulong stream) {
    state += state_at;
    out += out_at;
    const ulong blocks = (count + 3) / 4;
    for (ulong block = get_global_id(0) * MGN_WIDTH; block < blocks; block += get_global_size(0) * MGN_WIDTH) {
        uint words[4 * MGN_WIDTH];
        real made[4 * MGN_WIDTH];
        draw(state, (uint)stream, block, words);
        make(words, made);
        const uint some = (uint)min((ulong)(4 * MGN_WIDTH), count - 4 * block);
        for (uint i = 0; i < some; i++) out[4 * block + i] = made[i];
    }
}

#else

/* The step's batch of the epoch's permutation. */
MGN_KERNEL void shuffle_batch(global const uint *state, ulong state_at, global uint *out, ulong out_at,
                              ulong population, ulong batch, ulong steps_per_epoch, ulong stride) {
    state += state_at;
    out += out_at;
    const uint step = state[2], size = (uint)population;
    const m_shuffle_key key = m_shuffle_start(state[0], state[1], m_shuffle_epoch(step, steps_per_epoch), size);
    const uint first = m_shuffle_position(step, steps_per_epoch, stride, 0, size);
    for (ulong i = get_global_id(0); i < batch; i += get_global_size(0))
        out[i] = m_shuffle(key, (uint)((first + i) % population));
}

/* In place, if the two are the same. */
MGN_KERNEL void advance(global const uint *state, ulong state_at, global uint *out, ulong out_at, ulong steps) {
    if (get_global_id(0) != 0) return;
    for (uint i = 0; i < 4; i++) out[out_at + i] = state[state_at + i] + (i == 2 ? (uint)steps : 0u);
}

#endif
