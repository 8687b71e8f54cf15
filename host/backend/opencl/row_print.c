/* Row programs as the text of kernels: how the sections follow each other (see row_text.h). The program is walked
 * twice: the first time nothing is printed, but it comes out which shared places somebody reads from memory. */
#include "backend/opencl/row_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Local memory that shared places of a single program may take on a GPU. */
enum { MOST_LOCAL_BYTES = 12288 };

/* Entries of shuffles that are worked out at a time. */
enum { MIN_AHEAD_ENTRIES = 2048 };

/* ---- text and table ---- */

static bool grow(mgn_cl_row_text *t, size_t more) {
    if (t->capacity - t->length > more) return true;
    const size_t capacity = MGN_MAX(t->capacity * 2, t->length + more + 65536);
    char *grown = mgn_realloc(t->text, capacity, 1);
    if (!grown) {
        t->failed = true;
        return false;
    }
    t->text = grown;
    t->capacity = capacity;
    return true;
}

void mgn_cl_put(mgn_cl_row_text *t, const char *format, ...) {
    if (t->silent || t->failed) return;
    va_list values;
    va_start(values, format);
    const int length = vsnprintf(NULL, 0, format, values);
    va_end(values);
    if (length < 0 || !grow(t, (size_t)length + 1)) return;
    va_start(values, format);
    vsnprintf(t->text + t->length, t->capacity - t->length, format, values);
    va_end(values);
    t->length += (size_t)length;
}

int32_t mgn_cl_row_number(mgn_cl_row_text *t, uint64_t value) {
    if (t->table_count == t->table_capacity) {
        const int32_t capacity = t->table_capacity ? 2 * t->table_capacity : 64;
        uint64_t *grown = mgn_realloc(t->table, (size_t)capacity, sizeof *grown);
        if (!grown) {
            t->failed = true;
            return 0;
        }
        t->table = grown;
        t->table_capacity = capacity;
    }
    t->table[t->table_count] = value;
    return t->table_count++;
}

/* Steps whose shuffles are worked out together: a few thousand entries, which stay in the nearest caches. */
static uint64_t steps_ahead(const mgn_row_program *program) {
    return MGN_MAX(1, MIN_AHEAD_ENTRIES / (uint64_t)program->rows);
}

uint64_t mgn_cl_kept_words(const mgn_cl_row_text *t) {
    const uint64_t entries = steps_ahead(t->program) * (uint64_t)t->program->rows + (uint64_t)t->width;
    return (uint64_t)t->program->index_places + (uint64_t)t->ahead * entries;
}

static void start_table(mgn_cl_row_text *t, uint64_t chunk_rows) {
    const mgn_row_program *program = t->program;
    t->table_count = 0;
    mgn_cl_row_number(t, (uint64_t)program->rows);
    mgn_cl_row_number(t, chunk_rows);
    mgn_cl_row_number(t, mgn_cl_ceil_div((uint64_t)program->rows, chunk_rows));
    mgn_cl_row_number(t, steps_ahead(program));
    for (int32_t e = 0; e < program->external_count; e++) mgn_cl_row_number(t, (uint64_t)program->externals[e].offset);
}

/* ---- kernels ---- */

static const char *real_name(const mgn_cl_row_text *t) { return t->program->real == MGN_F64 ? "double" : "float"; }

/* Shared places live in local memory where they fit; else in the buffer that also brings the constants. */
static bool is_local(const mgn_cl_row_text *t) {
    const size_t places = (size_t)(t->program->shared_places + t->spare);
    return t->single && !t->vectors && places * mgn_dtype_size(t->program->real) <= MOST_LOCAL_BYTES;
}

size_t mgn_cl_local_places(const mgn_cl_row_text *t) {
    return is_local(t) ? (size_t)MGN_MAX(t->program->shared_places + t->spare, 1) : 1;
}

size_t mgn_cl_local_sums(const mgn_cl_row_text *t) {
    int32_t most = 0;
    for (int32_t k = 0; k < t->part_count; k++) most = MGN_MAX(most, t->parts[k].sums);
    return (size_t)MGN_MIN(MGN_MAX(most, 1), MGN_CL_SUMS_AT_ONCE);
}

/* The arguments of every kernel. Work-items of a group talk to each other through memory, which is not `restrict` then;
 * and local memory is an argument too: from an array of the kernel's own, compilers load in front of the branch that
 * guards a statement, on work-items that have no business there. */
static void print_arguments(mgn_cl_row_text *t) {
    const mgn_row_program *program = t->program;
    const char *alone = t->vectors ? "restrict " : "";
    mgn_cl_put(t, "(global real *%sgiven, global uint *%skept, global real *%spartial, ", alone, alone, alone);
    mgn_cl_put(t, "constant ulong *restrict n, uint count");
    if (!t->vectors) mgn_cl_put(t, ", local real *%s, local real *q", is_local(t) ? "s" : "unused");
    for (int32_t e = 0; e < program->external_count; e++)
        mgn_cl_put(t, ", global %s *e%d", program->externals[e].dtype == MGN_U32 ? "uint" : real_name(t), (int)e);
    mgn_cl_put(t, ")");
}

/* The kernel's head, and what every kernel starts with. */
static void open_kernel(mgn_cl_row_text *t, const char *name, int number) {
    const mgn_row_program *program = t->program;
    mgn_cl_forget(t);
    mgn_cl_clean(t);
    mgn_cl_put(t, "MGN_KERNEL void %s", name);
    if (number >= 0) mgn_cl_put(t, "%d", number);
    print_arguments(t);
    mgn_cl_put(t, " {\nconst uint item = %s;\n", t->vectors ? "0" : "get_local_id(0)");
    if (is_local(t))
        mgn_cl_put(t, "for (uint j = item; j < %d; j += MGN_GROUP) s[j] = given[j];\nSYNC\n", (int)program->constants);
    else
        mgn_cl_put(t, "global real *%ss = given;\n", t->vectors ? "restrict " : "");
    if (program->index_places > 0) mgn_cl_put(t, "uint x[%d];\n", (int)program->index_places);
}

/* Split programs keep index places between kernels. */
static void load_index(mgn_cl_row_text *t) {
    for (int32_t j = 0; j < t->program->index_places; j++) mgn_cl_put(t, "x[%d] = kept[%d];\n", (int)j, (int)j);
}

static void save_index(mgn_cl_row_text *t) {
    if (t->program->index_places == 0) return;
    mgn_cl_put(t, "if (item == 0) {\n");
    for (int32_t j = 0; j < t->program->index_places; j++) mgn_cl_put(t, "kept[%d] = x[%d];\n", (int)j, (int)j);
    mgn_cl_put(t, "}\n");
}

/* Shared sections first .. last - 1 of the program. */
static void print_shared_range(mgn_cl_row_text *t, int32_t first, int32_t last) {
    for (int32_t k = first; k < last; k++) mgn_cl_print_shared(t, &t->program->sections[k]);
}

/* The section behind a part's shared sections. */
static int32_t end_of_part(const mgn_cl_row_text *t, int32_t part) {
    return part + 1 < t->part_count ? t->parts[part + 1].section : t->program->section_count;
}

/* The loop over steps has its condition at the end, there being a step at least: with barriers behind a condition
 * PoCL (3.1) loses work-item 0. */
static void print_single(mgn_cl_row_text *t) {
    open_kernel(t, "single", -1);
    mgn_cl_print_shared(t, &t->program->prologue);
    mgn_cl_settle(t);
    mgn_cl_put(t, "ulong left = 0, ahead = 0;\nuint step = 0;\ndo {\n");
    mgn_cl_print_ahead(t);
    const bool looks_ahead = t->ahead > 0;
    t->ahead = 0;
    mgn_cl_forget(t);
    print_shared_range(t, 0, t->leading);
    for (int32_t k = 0; k < t->part_count; k++) {
        mgn_cl_settle(t);
        mgn_cl_print_row_loop(t, &t->parts[k]);
        if (t->parts[k].sums > 0) mgn_cl_print_row_sums(t, &t->parts[k]);
        print_shared_range(t, t->parts[k].section + 1, end_of_part(t, k));
    }
    mgn_cl_print_carries(t);
    if (looks_ahead) mgn_cl_put(t, "ahead += n[%d];\n", MGN_CL_ROWS);
    mgn_cl_put(t, "} while (++step < count);\n");
    mgn_cl_forget(t);
    mgn_cl_print_shared(t, &t->program->epilogue);
    mgn_cl_put(t, "}\n");
}

static void print_begin(mgn_cl_row_text *t) {
    open_kernel(t, "begin", -1);
    mgn_cl_print_shared(t, &t->program->prologue);
    mgn_cl_settle(t);
    print_shared_range(t, 0, t->leading);
    save_index(t);
    mgn_cl_put(t, "}\n");
}

static void print_rows(mgn_cl_row_text *t, int32_t k) {
    open_kernel(t, "rows", (int)k);
    load_index(t);
    mgn_cl_print_row_loop(t, &t->parts[k]);
    if (t->parts[k].sums > 0) mgn_cl_print_row_sums(t, &t->parts[k]);
    mgn_cl_put(t, "}\n");
}

/* Behind row section k. `count` of the last: whether another step follows. */
static void print_behind(mgn_cl_row_text *t, int32_t k) {
    const bool last = k == t->part_count - 1;
    open_kernel(t, "shared", (int)k);
    load_index(t);
    if (t->parts[k].sums > 0) mgn_cl_print_partial_sums(t, &t->parts[k]);
    print_shared_range(t, t->parts[k].section + 1, end_of_part(t, k));
    if (last) {
        mgn_cl_print_carries(t);
        mgn_cl_forget(t);
        mgn_cl_put(t, "if (count) {\n");
        print_shared_range(t, 0, t->leading);
        mgn_cl_settle(t);
        mgn_cl_put(t, "} else {\n");
        mgn_cl_forget(t);
        mgn_cl_print_shared(t, &t->program->epilogue);
        mgn_cl_put(t, "}\n");
    }
    save_index(t);
    mgn_cl_put(t, "}\n");
}

static void print_all(mgn_cl_row_text *t, uint64_t chunk_rows) {
    t->names = 0;
    t->weight = 0;
    start_table(t, chunk_rows);
    if (t->single) {
        print_single(t);
        return;
    }
    if (t->has_begin) print_begin(t);
    for (int32_t k = 0; k < t->part_count; k++) {
        print_rows(t, k);
        if (t->parts[k].has_shared) print_behind(t, k);
    }
}

/* ---- structure ---- */

static void note_carries(mgn_cl_row_text *t) {
    const mgn_row_program *program = t->program;
    int64_t count = 0;
    for (int32_t i = 0; i < program->carry_count; i++) {
        const mgn_row_carry *a = &program->carries[i];
        if (!a->is_state) count += a->count;
        for (int32_t j = 0; j < program->carry_count; j++) {
            const mgn_row_carry *b = &program->carries[j];
            if (!a->is_state && !b->is_state && a->from < b->to + b->count && b->to < a->from + a->count)
                t->carries_overlap = true;
        }
    }
    t->spare = t->carries_overlap ? (int32_t)count : 0;
}

/* Which sections are rows, and what follows each. */
static mgn_status find_parts(mgn_cl_row_text *t) {
    const mgn_row_program *program = t->program;
    t->leading = program->section_count;
    int32_t sums = 0;
    for (int32_t k = 0; k < program->section_count; k++) {
        const mgn_row_section *section = &program->sections[k];
        if (!section->is_row) continue;
        if (t->part_count == MGN_CL_MOST_ROW_SECTIONS)
            return mgn_fail(MGN_ERR_UNSUPPORTED, "a row program of more than %d row sections",
                            MGN_CL_MOST_ROW_SECTIONS);
        if (t->part_count == 0) t->leading = k;
        mgn_cl_row_part *part = &t->parts[t->part_count++];
        *part = (mgn_cl_row_part){.section = k, .first_sum = sums};
        for (int32_t i = 0; i < section->count; i++) part->sums += mgn_cl_row_sums(&section->instructions[i]);
        sums += part->sums;
    }
    if (t->part_count == 0) t->single = true;
    t->has_begin = program->prologue.count > 0 || t->leading > 0;
    for (int32_t k = 0; k < t->part_count; k++) {
        const bool last = k == t->part_count - 1;
        t->parts[k].has_shared = t->parts[k].sums > 0 || end_of_part(t, k) > t->parts[k].section + 1 ||
                                 (last && (program->carry_count > 0 || program->epilogue.count > 0));
    }
    return MGN_OK;
}

int32_t mgn_cl_partial_places(const mgn_cl_row_text *t) {
    int32_t most = 0;
    for (int32_t k = 0; k < t->part_count; k++)
        most = MGN_MAX(most, t->vectors ? mgn_cl_sum_vectors(t, &t->parts[k]) * t->width : t->parts[k].sums);
    return t->single ? 0 : most;
}

mgn_status mgn_cl_row_text_make(mgn_cl_row_text *t, const mgn_row_program *program, uint64_t chunk_rows) {
    t->program = program;
    MGN_TRY(find_parts(t));
    note_carries(t);
    const size_t places = (size_t)program->shared_places + (size_t)t->spare + 1;
    t->variable = mgn_alloc(places, sizeof *t->variable);
    t->lane = mgn_alloc(places, sizeof *t->lane);
    t->in_memory = mgn_alloc(places, sizeof *t->in_memory);
    t->is_dirty = mgn_alloc(places, sizeof *t->is_dirty);
    t->dirty = mgn_alloc(places, sizeof *t->dirty);
    if (!t->variable || !t->lane || !t->in_memory || !t->is_dirty || !t->dirty) return MGN_ERR_MEMORY;
    t->silent = true;
    print_all(t, chunk_rows);
    t->silent = false;
    print_all(t, chunk_rows);
    return t->failed ? MGN_ERR_MEMORY : MGN_OK;
}

void mgn_cl_row_text_free(mgn_cl_row_text *t) {
    mgn_free(t->text);
    mgn_free(t->table);
    mgn_free(t->variable);
    mgn_free(t->lane);
    mgn_free(t->in_memory);
    mgn_free(t->is_dirty);
    mgn_free(t->dirty);
}
