/* Colours of 8 bits that were asked for before. A photograph of ten million pixels has some hundred thousand colours, and
 * neighbours share theirs, so what changes colours is asked once for each and not once for each pixel; the answers are
 * the same. Colours have their places by the low bits of their channels (5, 6 and 5): those of a neighbourhood get
 * different ones, close to each other. A colour that comes to a place where another is takes it. */
#include <string.h>

#include "recolor/recolor.h"

enum { PLACES = 1 << 16, BLOCK = 8192, ASKED = 256 };

/* Marks of an entry: its upper half holds a colour, its lower half what becomes of that, or which question of the block
 * will tell. */
static const uint32_t taken = 1u << 24, open_question = 1u << 31;

struct mgn_colour_memo {
    mgn_bytes_function *bytes;
    void *context;
    uint64_t entries[PLACES];
    uint32_t waiting[BLOCK], question[BLOCK]; /* pixels of the block, and which answer each of them waits for */
    unsigned char asked[3 * BLOCK], answers[3 * BLOCK];
};

mgn_status mgn_colour_memo_create(mgn_bytes_function *bytes, void *context, mgn_colour_memo **memo) {
    mgn_colour_memo *made = mgn_alloc(1, sizeof *made);
    if (!made) return MGN_ERR_MEMORY;
    made->bytes = bytes;
    made->context = context;
    *memo = made;
    return MGN_OK;
}

void mgn_colour_memo_destroy(mgn_colour_memo *memo) { mgn_free(memo); }

static inline uint32_t read_colour(const unsigned char *rgb) {
    return (uint32_t)rgb[0] | (uint32_t)rgb[1] << 8 | (uint32_t)rgb[2] << 16;
}

static inline void write_colour(unsigned char *rgb, uint32_t colour) {
    rgb[0] = (unsigned char)colour;
    rgb[1] = (unsigned char)(colour >> 8);
    rgb[2] = (unsigned char)(colour >> 16);
}

static inline uint32_t place_of(uint32_t colour) {
    return (colour & 0x1f) | (colour >> 3 & 0x7e0) | (colour >> 5 & 0xf800);
}

static uint64_t entry_of(uint32_t colour, uint32_t lower) { return (uint64_t)(colour | taken) << 32 | lower; }

/* Writes what is known of `count` pixels; how many wait, and how many questions there are. */
static size_t look_up(mgn_colour_memo *m, const unsigned char *from, size_t count, unsigned char *to,
                      uint32_t *questions) {
    size_t waiting = 0;
    uint32_t asked = 0;
    for (size_t i = 0; i < count; i++, from += 3, to += 3) {
        const uint32_t colour = read_colour(from), place = place_of(colour);
        uint64_t entry = m->entries[place];
        if (entry >> 32 != (colour | taken)) {
            write_colour(m->asked + 3 * (size_t)asked, colour);
            m->entries[place] = entry = entry_of(colour, open_question | asked++);
        }
        const uint32_t found = (uint32_t)entry;
        if (found & open_question) {
            m->waiting[waiting] = (uint32_t)i;
            m->question[waiting++] = found & ~open_question;
        } else {
            write_colour(to, found);
        }
    }
    *questions = asked;
    return waiting;
}

/* Puts the answers in the questions' places, unless another colour has taken them since. Without answers nothing of the
 * block stays. */
static void settle(mgn_colour_memo *m, uint32_t questions, bool answered) {
    for (uint32_t k = 0; k < questions; k++) {
        const uint32_t colour = read_colour(m->asked + 3 * (size_t)k);
        uint64_t *entry = &m->entries[place_of(colour)];
        if (*entry != entry_of(colour, open_question | k)) continue;
        *entry = answered ? entry_of(colour, read_colour(m->answers + 3 * (size_t)k)) : 0;
    }
}

static mgn_status ask(mgn_colour_memo *m, uint32_t questions) {
    for (uint32_t k = 0; k < questions; k += ASKED)
        MGN_TRY(m->bytes(m->context, m->asked + 3 * (size_t)k, MGN_MIN(ASKED, (int64_t)(questions - k)),
                         m->answers + 3 * (size_t)k));
    return MGN_OK;
}

mgn_status mgn_colour_memo_apply(mgn_colour_memo *m, const unsigned char *from, size_t pixels, unsigned char *to) {
    for (size_t at = 0; at < pixels; at += BLOCK) {
        const size_t count = MGN_MIN((size_t)BLOCK, pixels - at);
        uint32_t questions;
        const size_t waiting = look_up(m, from + 3 * at, count, to + 3 * at, &questions);
        const mgn_status status = ask(m, questions);
        settle(m, questions, status == MGN_OK);
        MGN_TRY(status);
        for (size_t i = 0; i < waiting; i++)
            memcpy(to + 3 * (at + m->waiting[i]), m->answers + 3 * (size_t)m->question[i], 3);
    }
    return MGN_OK;
}
