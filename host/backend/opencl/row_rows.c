/* Row sections as text: a loop over rows whose body is the section's instructions, unrolled over features, and the sums
 * over rows behind it. */
#include "backend/opencl/row_text.h"

#include <stdio.h>

/* Of sections that are worked on in pairs of vectors: compiling them twice is bearable, and most of their sums stay in
 * registers. Operations of a function that is worth it. */
enum { MOST_PAIR_WEIGHT = 400, MOST_PAIR_SUMS = 32, LONG_FUNCTION = 8 };

/* ---- operands ---- */

typedef struct operand_text {
    char text[32];
} operand_text;

/* Entry j of a run, as an R. */
static operand_text operand(mgn_cl_row_text *t, const mgn_row_run *run, int32_t j) {
    operand_text out;
    const int32_t place = run->base + j * run->stride;
    if (!run->is_row) mgn_cl_reads(t, place, 1);
    snprintf(out.text, sizeof out.text, run->is_row ? "p%d" : "S(%d)", (int)place);
    return out;
}

/* "e3 + n[6]" */
static operand_text external(const mgn_row_instruction *i) {
    operand_text out;
    snprintf(out.text, sizeof out.text, "e%d + n[%d]", (int)i->external, (int)(MGN_CL_FIRST_OFFSET + i->external));
    return out;
}

/* ---- arithmetic ---- */

static void print_elementwise(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    const mgn_op_info *info = &mgn_op_infos[i->op];
    for (int32_t j = 0; j < i->count; j++) {
        mgn_cl_put(t, "{ const R ");
        for (int k = 0; k < info->arity; k++)
            mgn_cl_put(t, "%s%c = %s", k ? ", " : "", 'a' + k, operand(t, &i->src[k], j).text);
        mgn_cl_put(t, "; p%d = %s; }\n", (int)(i->dst.base + j), info->expression);
    }
    t->weight += (int64_t)i->count * (2 + info->flops) / 2;
}

static void print_matmul(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    for (int32_t j = 0; j < i->count; j++) {
        mgn_cl_put(t, "p%d = ", (int)(i->dst.base + j));
        for (int32_t k = 0; k < i->inner; k++) {
            const mgn_row_run b = {false, i->src[1].base + k * i->step + j * i->src[1].stride, 0};
            mgn_cl_put(t, "%s%s * %s", k ? " + " : "", operand(t, &i->src[0], k).text, operand(t, &b, 0).text);
        }
        mgn_cl_put(t, ";\n");
    }
    t->weight += 2 * (int64_t)i->count * i->inner;
}

static void print_reduction(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    for (int32_t j = 0; j < i->count; j++) {
        const int32_t to = i->dst.base + j;
        for (int32_t k = 0; k < i->inner; k++) {
            const mgn_row_run from = {true, i->src[0].base + k * i->step + j * i->src[0].stride, 0};
            const char *const text = operand(t, &from, 0).text;
            if (k == 0)
                mgn_cl_put(t, "p%d = %s;\n", (int)to, text);
            else if (i->opcode == MGN_ROW_SUM)
                mgn_cl_put(t, "p%d += %s;\n", (int)to, text);
            else
                mgn_cl_put(t, "p%d = LARGER(p%d, %s);\n", (int)to, (int)to, text);
        }
    }
    t->weight += (int64_t)i->count * i->inner;
}

/* Adds to the accumulators from `sum` on. */
static void print_column_sums(mgn_cl_row_text *t, const mgn_row_instruction *i, int32_t sum) {
    const bool product = i->opcode == MGN_ROW_COLUMN_PRODUCT;
    for (int32_t m = 0; m < (product ? i->inner : 1); m++)
        for (int32_t j = 0; j < i->count; j++, sum++) {
            mgn_cl_put(t, "ADD(t%d, ", (int)sum);
            if (product)
                mgn_cl_put(t, "%s * %s", operand(t, &i->src[0], m).text, operand(t, &i->src[1], j).text);
            else
                mgn_cl_put(t, "%s", operand(t, &i->src[0], j).text);
            mgn_cl_put(t, ");\n");
            t->weight += 3;
        }
}

/* ---- data ---- */

/* ", &p4, &p5);" */
static void print_targets(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    for (int32_t j = 0; j < i->count; j++) mgn_cl_put(t, ", &p%d", (int)(i->dst.base + j));
    mgn_cl_put(t, ");\n");
}

/* Features of a row, which vectors of rows gather or scatter one by one: a compiler takes a second for a hundred of them,
 * and minutes for a few hundred. */
static int64_t weight_of_features(const mgn_cl_row_text *t, int32_t count) {
    return (t->vectors && count > 4 ? 24 : 4) * (int64_t)count;
}

static void print_load(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    const operand_text from = external(i);
    if (i->count >= 2 && i->count <= 4) {
        mgn_cl_put(t, "m_rows_%d(%s + row * %d, lanes", (int)i->count, from.text, (int)i->count);
        print_targets(t, i);
    } else {
        for (int32_t j = 0; j < i->count; j++)
            mgn_cl_put(t, "p%d = m_load(%s + row * %d + %d, %d, lanes);\n", (int)(i->dst.base + j), from.text,
                       (int)i->count, (int)j, (int)i->count);
    }
    t->weight += weight_of_features(t, i->count);
}

static void print_store(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    for (int32_t j = 0; j < i->count; j++)
        mgn_cl_put(t, "m_store(%s, %s + row * %d + %d, %d, lanes);\n", operand(t, &i->src[0], j).text, external(i).text,
                   (int)i->count, (int)j, (int)i->count);
    t->weight += weight_of_features(t, i->count);
}

static void print_gather(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    const int bound = (int)mgn_cl_row_number(t, (uint64_t)t->program->externals[i->external].rows);
    for (int32_t j = 0; j < i->count; j++)
        mgn_cl_put(t, "p%d = m_gather(%s, u%d, n[%d], %d, %d);\n", (int)(i->dst.base + j), external(i).text,
                   (int)i->src[0].base, bound, (int)i->count, (int)j);
    t->weight += 8 * (int64_t)i->count;
}

static void print_bytes(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    const operand_text at = external(i);
    const int count = (int)i->count;
    if (i->opcode == MGN_ROW_BYTES_LOAD && count == 3) {
        mgn_cl_put(t, "m_load_bytes_3((global const uchar *)(%s) + row * 3, lanes", at.text);
        print_targets(t, i);
    } else {
        for (int32_t j = 0; j < count; j++)
            if (i->opcode == MGN_ROW_BYTES_LOAD)
                mgn_cl_put(t, "p%d = m_load_bytes((global const uchar *)(%s) + row * %d + %d, %d, lanes);\n",
                           (int)(i->dst.base + j), at.text, count, (int)j, count);
            else
                mgn_cl_put(t, "m_store_bytes(%s, (global uchar *)(%s) + row * %d + %d, %d, lanes);\n",
                           operand(t, &i->src[0], j).text, at.text, count, (int)j, count);
    }
    t->weight += 8 * (int64_t)i->count;
}

static void print_random(mgn_cl_row_text *t, const mgn_row_instruction *i) {
    const int32_t stream = mgn_cl_row_number(t, i->attributes.random.stream), room = (i->count + 3) / 4 * 4;
    mgn_cl_put(t, "{ real z[MGN_WIDTH * %d];\nm_%s_rows(x + %d, n[%d], row, %d, z);\n", (int)room,
               i->opcode == MGN_ROW_NORMAL ? "normal" : "uniform", (int)i->state, (int)stream, (int)i->count);
    for (int32_t j = 0; j < i->count; j++)
        mgn_cl_put(t, "p%d = m_column(z, %d, %d);\n", (int)(i->dst.base + j), (int)i->count, (int)j);
    mgn_cl_put(t, "}\n");
    t->weight += 100 + 16 * (int64_t)i->count;
}

/* ---- shuffles ---- */

/* Whether a shuffle's state grows by the same number every step, which `advance` gets. */
static bool is_regular(const mgn_row_program *program, const mgn_row_instruction *shuffle, uint32_t *advance) {
    int32_t from = -1;
    for (int32_t k = 0; k < program->carry_count; k++)
        if (program->carries[k].is_state && program->carries[k].to == shuffle->state) from = program->carries[k].from;
    *advance = 0;
    if (from < 0 || from == shuffle->state) return true;
    for (int32_t k = 0; k < program->section_count; k++)
        for (int32_t j = 0; j < program->sections[k].count; j++) {
            const mgn_row_instruction *i = &program->sections[k].instructions[j];
            if (i->opcode != MGN_ROW_ADVANCE || i->dst.base != from || i->state != shuffle->state) continue;
            *advance = i->attributes.advance.steps;
            return true;
        }
    return false;
}

/* Whether the shuffle is worked out ahead. */
static bool is_ahead(const mgn_cl_row_text *t, const mgn_row_instruction *i) {
    uint32_t advance;
    return t->single && i->opcode == MGN_ROW_SHUFFLE && is_regular(t->program, i, &advance);
}

/* "kept + 8 + 1 * (n[3] * n[0] + MGN_WIDTH)": the entries of a shuffle worked out ahead. */
static void print_ahead_place(mgn_cl_row_text *t, int32_t number) {
    mgn_cl_put(t, "kept + %d + %d * (n[%d] * n[%d] + MGN_WIDTH)", (int)t->program->index_places, (int)number,
               MGN_CL_AHEAD, MGN_CL_ROWS);
}

void mgn_cl_print_ahead(mgn_cl_row_text *t) {
    t->ahead = 0;
    for (int32_t k = 0; k < t->part_count; k++) {
        const mgn_row_section *section = &t->program->sections[t->parts[k].section];
        for (int32_t j = 0; j < section->count; j++) {
            const mgn_row_instruction *i = &section->instructions[j];
            uint32_t advance;
            if (!is_ahead(t, i) || !is_regular(t->program, i, &advance)) continue;
            const int by = (int)mgn_cl_row_number(t, advance);
            const int population = (int)mgn_cl_row_number(t, (uint64_t)i->attributes.shuffle.population);
            const int steps = (int)mgn_cl_row_number(t, (uint64_t)i->attributes.shuffle.steps_per_epoch);
            const int stride = (int)mgn_cl_row_number(t, (uint64_t)i->attributes.shuffle.stride);
            if (t->ahead == 0)
                mgn_cl_put(t, "if (left == 0) {\nleft = min(n[%d], (ulong)(count - step)), ahead = 0;\n", MGN_CL_AHEAD);
            mgn_cl_put(t, "m_shuffle_ahead(");
            print_ahead_place(t, t->ahead++);
            mgn_cl_put(t, ", x + %d, n[%d], n[%d], left, n[%d], n[%d], n[%d]);\n", (int)i->state, by, MGN_CL_ROWS,
                       population, steps, stride);
            t->weight += 200;
        }
    }
    if (t->ahead > 0) mgn_cl_put(t, "}\n%sleft--;\n", t->vectors ? "" : "SYNC\n");
}

/* The keys of the shuffles that a section works out itself; all rows share them. */
static void print_keys(mgn_cl_row_text *t, const mgn_row_section *section) {
    for (int32_t k = 0; k < section->count; k++) {
        const mgn_row_instruction *i = &section->instructions[k];
        if (i->opcode != MGN_ROW_SHUFFLE || is_ahead(t, i)) continue;
        const int x = (int)i->state, population = (int)mgn_cl_row_number(t, (uint64_t)i->attributes.shuffle.population);
        const int steps = (int)mgn_cl_row_number(t, (uint64_t)i->attributes.shuffle.steps_per_epoch);
        const int stride = (int)mgn_cl_row_number(t, (uint64_t)i->attributes.shuffle.stride);
        mgn_cl_put(
            t,
            "const m_shuffle_key key%d = m_shuffle_start(x[%d], x[%d], m_shuffle_epoch(x[%d], n[%d]), (uint)n[%d]);\n"
            "const ulong position%d = m_shuffle_position(x[%d], n[%d], n[%d], 0, (uint)n[%d]);\n",
            (int)k, x, x + 1, x + 2, steps, population, (int)k, x + 2, steps, stride, population);
        t->weight += 200;
    }
}

/* Entries of a shuffle: those worked out ahead are numbered through all sections. */
static void print_shuffle(mgn_cl_row_text *t, const mgn_row_instruction *i, int32_t number) {
    mgn_cl_put(t, "u%d = ", (int)i->dst.base);
    if (is_ahead(t, i)) {
        mgn_cl_put(t, "m_load_words(");
        print_ahead_place(t, t->ahead++);
        mgn_cl_put(t, " + ahead + row, lanes);\n");
    } else {
        mgn_cl_put(t, "m_shuffle_rows(key%d, position%d + row);\n", (int)number, (int)number);
    }
}

/* ---- sections ---- */

static void print_row_instruction(mgn_cl_row_text *t, const mgn_row_instruction *i, int32_t number, int32_t sum) {
    const int to = (int)i->dst.base;
    switch (i->opcode) {
    case MGN_ROW_ELEMENTWISE: print_elementwise(t, i); break;
    case MGN_ROW_MATMUL: print_matmul(t, i); break;
    case MGN_ROW_SUM:
    case MGN_ROW_MAX: print_reduction(t, i); break;
    case MGN_ROW_COLUMN_SUM:
    case MGN_ROW_COLUMN_PRODUCT: print_column_sums(t, i, sum); break;
    case MGN_ROW_LOAD: print_load(t, i); break;
    case MGN_ROW_STORE: print_store(t, i); break;
    case MGN_ROW_GATHER: print_gather(t, i); break;
    case MGN_ROW_BYTES_LOAD:
    case MGN_ROW_BYTES_STORE: print_bytes(t, i); break;
    case MGN_ROW_UNIFORM:
    case MGN_ROW_NORMAL: print_random(t, i); break;
    case MGN_ROW_INDEX_LOAD: mgn_cl_put(t, "u%d = m_load_words(%s + row, lanes);\n", to, external(i).text); break;
    case MGN_ROW_SHUFFLE: print_shuffle(t, i, number); break;
    default: break; /* the rest belongs to shared sections */
    }
}

/* The variables of one row, numbered from `from` on: places that hold the bits of an index are u, the others p. */
static void print_places(mgn_cl_row_text *t, const mgn_row_section *section, int32_t from) {
    for (int32_t place = 0; place < section->row_places; place++)
        mgn_cl_put(t, "%s p%d%s", place % 16 ? "," : "R", (int)(from + place),
                   place % 16 == 15 || place == section->row_places - 1 ? ";\n" : "");
    for (int32_t k = 0; k < section->count; k++) {
        const mgn_row_instruction *i = &section->instructions[k];
        if (i->opcode != MGN_ROW_SHUFFLE && i->opcode != MGN_ROW_INDEX_LOAD) continue;
        bool first = true;
        for (int32_t before = 0; before < k && first; before++) {
            const mgn_row_instruction *other = &section->instructions[before];
            first = !((other->opcode == MGN_ROW_SHUFFLE || other->opcode == MGN_ROW_INDEX_LOAD) &&
                      other->dst.base == i->dst.base);
        }
        if (first) mgn_cl_put(t, "m_word u%d;\n", (int)(from + i->dst.base));
    }
}

/* The instruction on the second of two vectors of rows, whose places come behind those of the first. */
static mgn_row_instruction on_second(const mgn_row_instruction *i, int32_t row_places) {
    mgn_row_instruction second = *i;
    if (second.dst.is_row) second.dst.base += row_places;
    for (int k = 0; k < MGN_MAX_INPUTS; k++)
        if (second.src[k].is_row) second.src[k].base += row_places;
    return second;
}

/* Whether rows are worked on in two vectors at once. An instruction waits for the one before it, and functions are long
 * chains of such: the processor has less to wait for between two of them than between a vector and the next. */
static bool in_pairs(const mgn_cl_row_text *t, const mgn_cl_row_part *part) {
    const mgn_row_section *section = &t->program->sections[part->section];
    if (!t->vectors || t->program->rows <= t->width || part->weight > MOST_PAIR_WEIGHT) return false;
    if (part->sums > MOST_PAIR_SUMS) return false;
    for (int32_t k = 0; k < section->count; k++) {
        const mgn_row_instruction *i = &section->instructions[k];
        if (i->opcode == MGN_ROW_ELEMENTWISE && mgn_op_infos[i->op].flops >= LONG_FUNCTION) return true;
    }
    return false;
}

static void print_body(mgn_cl_row_text *t, const mgn_cl_row_part *part, bool pairs) {
    const mgn_row_section *section = &t->program->sections[part->section];
    int32_t sum = part->first_sum;
    for (int32_t k = 0; k < section->count; k++) {
        const mgn_row_instruction *i = &section->instructions[k];
        const int32_t ahead = t->ahead;
        print_row_instruction(t, i, k, sum);
        if (pairs) {
            const mgn_row_instruction second = on_second(i, section->row_places);
            t->ahead = ahead;
            mgn_cl_put(t, "{ SECOND\n");
            print_row_instruction(t, &second, k, sum);
            mgn_cl_put(t, "}\n");
        }
        sum += mgn_cl_row_sums(i);
    }
}

void mgn_cl_print_row_loop(mgn_cl_row_text *t, mgn_cl_row_part *part) {
    const mgn_row_section *section = &t->program->sections[part->section];
    const bool pairs = !t->silent && in_pairs(t, part);
    const int64_t weight = t->weight;
    for (int32_t k = 0; k < part->sums; k++) mgn_cl_put(t, "R t%d = (R)0;\n", (int)(part->first_sum + k));
    if (t->single)
        mgn_cl_put(t, "{ const ulong begin = 0, end = n[%d];\n", MGN_CL_ROWS);
    else
        mgn_cl_put(t, "{ const ulong begin = get_group_id(0) * n[%d], end = min(begin + n[%d], n[%d]);\n",
                   MGN_CL_CHUNK_ROWS, MGN_CL_CHUNK_ROWS, MGN_CL_ROWS);
    print_keys(t, section);
    mgn_cl_put(t, pairs ? "EACH_PAIR {\nPAIR_LANES\n" : "EACH_ROW {\nLANES\n");
    print_places(t, section, 0);
    if (pairs) print_places(t, section, section->row_places);
    print_body(t, part, pairs);
    mgn_cl_put(t, "} }\n");
    if (t->silent) part->weight = t->weight - weight;
}

/* ---- sums ---- */

int32_t mgn_cl_row_sums(const mgn_row_instruction *i) {
    return i->opcode == MGN_ROW_COLUMN_SUM ? i->count : i->opcode == MGN_ROW_COLUMN_PRODUCT ? i->count * i->inner : 0;
}

int32_t mgn_cl_sum_vectors(const mgn_cl_row_text *t, const mgn_cl_row_part *part) {
    return (part->sums + t->width - 1) / t->width;
}

/* A walk over the sums of a section in groups that go to neighbouring places. */
typedef struct sum_group {
    const mgn_row_section *section;
    int32_t most;         /* sums of a group */
    int32_t at, inside;   /* next instruction, next of its sums */
    int32_t first, count; /* this group: its sums */
    int32_t place;        /* shared place of the first */
} sum_group;

static bool next_group(sum_group *g) {
    g->first += g->count;
    g->count = 0;
    for (; g->at < g->section->count && g->count < g->most; g->at++, g->inside = 0) {
        const mgn_row_instruction *i = &g->section->instructions[g->at];
        const int32_t sums = mgn_cl_row_sums(i);
        if (sums == 0) continue;
        if (g->count == 0)
            g->place = i->dst.base + g->inside;
        else if (i->dst.base + g->inside != g->place + g->count)
            break;
        const int32_t taken = MGN_MIN(sums - g->inside, g->most - g->count);
        g->count += taken;
        g->inside += taken;
        if (g->inside < sums) break;
    }
    return g->count > 0;
}

/* Remembers which places the sums of a section are, which stand in the lanes of variables from `name` on. */
static void hold_sums(mgn_cl_row_text *t, const mgn_cl_row_part *part, int32_t name) {
    sum_group g = {.section = &t->program->sections[part->section], .most = t->width};
    while (next_group(&g))
        for (int32_t at = 0, count; at < g.count; at += count) {
            const int32_t sum = g.first + at, lane = sum % t->width;
            count = MGN_MIN(g.count - at, t->width - lane);
            mgn_cl_hold(t, name + sum / t->width, lane, g.place + at, count);
        }
}

/* In vectors: the sums become the lanes of as few variables as can be. */
static void print_vector_sums(mgn_cl_row_text *t, const mgn_cl_row_part *part) {
    const int32_t first = t->names, vectors = mgn_cl_sum_vectors(t, part);
    for (int32_t number = 0; number < vectors; number++) {
        const int name = (int)t->names++;
        mgn_cl_put(t, "R v%d;\n{ R q[MGN_WIDTH] = {", name);
        for (int32_t k = number * t->width; k < (number + 1) * t->width; k++)
            if (k < part->sums)
                mgn_cl_put(t, "%st%d", k % t->width ? ", " : "", (int)(part->first_sum + k));
            else
                mgn_cl_put(t, ", (R)0");
        mgn_cl_put(t, "};\nv%d = m_sum_lanes(q); }\n", name);
        if (!t->single)
            mgn_cl_put(t, "MGN_VSTORE(v%d, partial + (get_group_id(0) * %d + %d) * MGN_WIDTH);\n", name, (int)vectors,
                       (int)number);
    }
    if (t->single) hold_sums(t, part, first);
}

/* Over a work-group: through local memory, several sums at a time. */
static void print_group_sums(mgn_cl_row_text *t, const mgn_cl_row_part *part, bool to_partial) {
    sum_group g = {.section = &t->program->sections[part->section], .most = MGN_CL_SUMS_AT_ONCE};
    while (next_group(&g)) {
        for (int32_t k = 0; k < g.count; k++)
            mgn_cl_put(t, "q[%d * MGN_GROUP + item] = t%d;\n", (int)k, (int)(part->first_sum + g.first + k));
        const int name = (int)t->names++;
        mgn_cl_put(t, "const real v%d = m_sum_group(q, %d);\n", name, (int)g.count);
        if (to_partial)
            mgn_cl_put(t, "if (item < %d) partial[(%d + item) * n[%d] + get_group_id(0)] = v%d;\n", (int)g.count,
                       (int)g.first, MGN_CL_CHUNKS, name);
        else
            mgn_cl_hold(t, name, 0, g.place, g.count);
        mgn_cl_put(t, "SYNC\n");
        mgn_cl_clean(t);
    }
}

void mgn_cl_print_row_sums(mgn_cl_row_text *t, const mgn_cl_row_part *part) {
    if (t->vectors)
        print_vector_sums(t, part);
    else
        print_group_sums(t, part, !t->single);
    t->weight += 8 * (int64_t)part->sums;
}

void mgn_cl_print_partial_sums(mgn_cl_row_text *t, const mgn_cl_row_part *part) {
    if (!t->vectors) {
        for (int32_t k = 0; k < part->sums; k++)
            mgn_cl_put(t,
                       "R t%d = (R)0;\nfor (ulong chunk = item; chunk < n[%d]; chunk += MGN_GROUP) t%d += partial[%d * "
                       "n[%d] + chunk];\n",
                       (int)(part->first_sum + k), MGN_CL_CHUNKS, (int)(part->first_sum + k), (int)k, MGN_CL_CHUNKS);
        print_group_sums(t, part, false);
        return;
    }
    const int32_t first = t->names, vectors = mgn_cl_sum_vectors(t, part);
    for (int32_t number = 0; number < vectors; number++)
        mgn_cl_put(
            t,
            "R v%d = (R)0;\nfor (ulong chunk = 0; chunk < n[%d]; chunk++) v%d += MGN_VLOAD(partial + (chunk * %d + "
            "%d) * MGN_WIDTH);\n",
            (int)(first + number), MGN_CL_CHUNKS, (int)(first + number), (int)vectors, (int)number);
    t->names += vectors;
    hold_sums(t, part, first);
}
