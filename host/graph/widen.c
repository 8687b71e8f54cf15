/* A graph that is elementwise work on matrices of one size, as a wide program (backend/wide_program.h).
 *
 * Inputs are read where they lie, through whatever views the graph puts on them, as long as columns stay neighbours; the
 * results that the graph gives out are stored. split.c cuts graphs so that such parts come out. */
#include "graph/widen.h"

#include <string.h>

typedef struct widener {
    mgn_lowering *low;
    const mgn_graph *graph;
    mgn_wide_source *of; /* by node id: of computed nodes and constants, and of trivial views of them */
    bool *is_known;      /* whether `of` says it; else the node is memory */
    mgn_wide_program program;
    mgn_wide_instruction *instructions;
    mgn_wide_external *externals;
    double *constants;
} widener;

bool mgn_is_wide(const mgn_node *node, int64_t vector, int64_t *rows, int64_t *columns) {
    const bool is_sum = node->op == MGN_OP_sum;
    if (node->kind != MGN_REAL || !(is_sum || mgn_op_is_elementwise(node->op))) return false;
    const mgn_shape shape = is_sum ? node->in[0]->shape : node->shape;
    if (shape.rank == 1 && (vector < 0 || vector == shape.dim[0])) {
        *rows = 1;
        *columns = shape.dim[0];
        return *columns >= MGN_WIDE_LEAST_ELEMENTS;
    }
    if (shape.rank != 2 || shape.dim[0] < 2 || shape.dim[1] < MGN_WIDE_LEAST_COLUMNS) return false;
    *rows = shape.dim[0];
    *columns = shape.dim[1];
    return *rows >= MGN_WIDE_LEAST_ELEMENTS / *columns;
}

static mgn_wide_source add_external(widener *w, mgn_operand operand) {
    const mgn_wide_external e = {operand.memory, operand.offset, operand.stride[0], operand.stride[1]};
    for (int32_t i = 0; i < w->program.external_count; i++) {
        const mgn_wide_external *o = &w->externals[i];
        if (o->memory == e.memory && o->offset == e.offset && o->row_stride == e.row_stride &&
            o->column_stride == e.column_stride)
            return (mgn_wide_source){MGN_WIDE_EXTERNAL, i};
    }
    w->externals[w->program.external_count] = e;
    return (mgn_wide_source){MGN_WIDE_EXTERNAL, w->program.external_count++};
}

/* What an instruction reads for one of its inputs; false where columns are not neighbours. */
static bool find_source(widener *w, const mgn_node *in, mgn_wide_source *source) {
    if (w->is_known[in->id]) {
        *source = w->of[in->id];
        return true;
    }
    const mgn_shape whole = MGN_SHAPE(w->program.rows, w->program.columns);
    const mgn_operand operand = mgn_lower_stretched(w->low->values[in->id].operand, whole);
    if (operand.stride[1] != 0 && operand.stride[1] != 1) return false;
    *source = add_external(w, operand);
    return true;
}

static bool take_view(widener *w, const mgn_node *node) {
    const mgn_node *in = node->in[0];
    if (node->is_output) return false;
    if (w->is_known[in->id]) { /* of a number, anything; of a value, what leaves it as it is */
        w->of[node->id] = w->of[in->id];
        w->is_known[node->id] = true;
        return w->of[in->id].sort == MGN_WIDE_CONSTANT || mgn_is_same_matrix(node);
    }
    return mgn_lower_view(w->low, node) == MGN_OK && w->low->call_count == 0;
}

static bool take_elementwise(widener *w, const mgn_node *node) {
    mgn_wide_instruction *i = &w->instructions[w->program.count];
    *i = (mgn_wide_instruction){.opcode = MGN_WIDE_ELEMENTWISE, .op = node->op, .inputs = node->inputs, .external = -1};
    for (int k = 0; k < node->inputs; k++)
        if (!find_source(w, node->in[k], &i->in[k])) return false;
    w->of[node->id] = (mgn_wide_source){MGN_WIDE_VALUE, w->program.count};
    w->is_known[node->id] = true;
    if (node->is_output) i->external = add_external(w, mgn_operand_of(w->low->values[node->id].tensor)).index;
    w->program.count++;
    return true;
}

static bool take_sum(widener *w, const mgn_node *node) {
    const int axis = node->attributes.axis + (w->program.rows == 1 ? 1 : 0), axes = node->attributes.axes;
    if (!node->is_output) return false; /* nothing here can read it */
    mgn_wide_instruction *i = &w->instructions[w->program.count++];
    *i = (mgn_wide_instruction){.op = MGN_OP_sum, .inputs = 1};
    i->opcode = axes == 2 ? MGN_WIDE_TOTAL_SUM : axis == 0 ? MGN_WIDE_COLUMN_SUM : MGN_WIDE_ROW_SUM;
    if (!find_source(w, node->in[0], &i->in[0])) return false;
    mgn_operand result = mgn_operand_of(w->low->values[node->id].tensor);
    result.stride[0] = i->opcode == MGN_WIDE_ROW_SUM;
    result.stride[1] = i->opcode == MGN_WIDE_COLUMN_SUM;
    i->external = add_external(w, result).index;
    return true;
}

static bool take(widener *w, const mgn_node *node) {
    int64_t rows, columns;
    if (node->op == MGN_OP_input) {
        w->low->values[node->id].operand = mgn_operand_of(w->low->values[node->id].tensor);
        return !node->is_output && node->kind == MGN_REAL;
    }
    if (node->op == MGN_OP_constant) {
        w->of[node->id] = (mgn_wide_source){MGN_WIDE_CONSTANT, w->program.constant_count};
        w->is_known[node->id] = true;
        w->constants[w->program.constant_count++] = node->attributes.value;
        return !node->is_output;
    }
    if (mgn_is_view(node->op)) return take_view(w, node);
    if (!mgn_is_wide(node, -1, &rows, &columns)) return false;
    if (w->program.rows == 0) {
        w->program.rows = rows;
        w->program.columns = columns;
    }
    if (w->program.rows != rows || w->program.columns != columns) return false;
    return node->op == MGN_OP_sum ? take_sum(w, node) : take_elementwise(w, node);
}

/* ---- the order of instructions: as few values as possible wait for their readers, since those of a tile have to fit into
 * the caches. Reverse mode adds up what many layers contribute after all of them. ---- */

typedef struct order {
    int32_t *waits;  /* by instruction: values that it reads and that are not made yet; -1: done */
    int32_t *unread; /* by instruction: readers of its result that are not done yet */
    int32_t *place;  /* by instruction: its new number */
} order;

/* What doing instruction n adds to the values that wait. */
static int32_t waiting_after(const widener *w, const order *o, int32_t n) {
    const mgn_wide_instruction *i = &w->instructions[n];
    int32_t change = i->opcode == MGN_WIDE_ELEMENTWISE && i->external < 0;
    for (int32_t k = 0; k < i->inputs; k++) {
        bool again = i->in[k].sort != MGN_WIDE_VALUE || w->instructions[i->in[k].index].external >= 0;
        int32_t reads = 0;
        for (int32_t j = 0; !again && j < i->inputs; j++) {
            const bool same = i->in[j].sort == MGN_WIDE_VALUE && i->in[j].index == i->in[k].index;
            reads += same;
            again = again || (same && j < k);
        }
        change -= !again && o->unread[i->in[k].index] == reads;
    }
    return change;
}

static void count_reads(const widener *w, order *o, int32_t n, bool done) {
    const mgn_wide_instruction *i = &w->instructions[n];
    for (int32_t k = 0; k < i->inputs; k++)
        if (i->in[k].sort == MGN_WIDE_VALUE) o->unread[i->in[k].index] -= done ? 1 : -1;
}

/* The instruction that is best done next: the first of those that leave the fewest values waiting. */
static int32_t best_next(const widener *w, const order *o) {
    int32_t best = -1, best_change = 0;
    for (int32_t n = 0; n < w->program.count; n++) {
        if (o->waits[n] != 0) continue;
        const int32_t change = waiting_after(w, o, n);
        if (best < 0 || change < best_change) {
            best = n;
            best_change = change;
        }
    }
    return best;
}

/* Gives the instructions the order that o->place says. */
static bool apply_order(widener *w, const order *o, mgn_arena *arena) {
    const int32_t count = w->program.count;
    mgn_wide_instruction *ordered = mgn_arena_alloc(arena, (size_t)count, sizeof *ordered);
    for (int32_t n = 0; ordered && n < count; n++) {
        mgn_wide_instruction *i = &ordered[o->place[n]];
        *i = w->instructions[n];
        for (int32_t k = 0; k < i->inputs; k++)
            if (i->in[k].sort == MGN_WIDE_VALUE) i->in[k].index = o->place[i->in[k].index];
    }
    for (int id = 0; id < w->low->node_count; id++)
        if (w->is_known[id] && w->of[id].sort == MGN_WIDE_VALUE) w->of[id].index = o->place[w->of[id].index];
    w->instructions = ordered;
    return ordered != NULL;
}

/* The result that has no place yet and hangs on the shortest chain of instructions; -1: none is left. `unread` holds the
 * lengths of those chains here. */
static int32_t nearest_result(const widener *w, const order *o) {
    int32_t best = -1;
    for (int32_t n = 0; n < w->program.count; n++)
        if (w->instructions[n].external >= 0 && o->place[n] < 0 && (best < 0 || o->unread[n] < o->unread[best]))
            best = n;
    return best;
}

/* First, everything that a result needs stands right before it. */
static void order_by_results(const widener *w, order *o) {
    int32_t done = 0;
    for (int32_t n = 0; n < w->program.count; n++) {
        o->place[n] = -1;
        o->unread[n] = 0;
        for (int32_t k = 0; k < w->instructions[n].inputs; k++) {
            const mgn_wide_source *in = &w->instructions[n].in[k];
            if (in->sort == MGN_WIDE_VALUE) o->unread[n] = MGN_MAX(o->unread[n], o->unread[in->index] + 1);
        }
    }
    for (int32_t result; (result = nearest_result(w, o)) >= 0;) {
        for (int32_t n = 0; n <= result; n++) o->waits[n] = n == result;
        for (int32_t n = result; n >= 0; n--)
            for (int32_t k = 0; o->waits[n] && o->place[n] < 0 && k < w->instructions[n].inputs; k++)
                if (w->instructions[n].in[k].sort == MGN_WIDE_VALUE) o->waits[w->instructions[n].in[k].index] = 1;
        for (int32_t n = 0; n <= result; n++)
            if (o->waits[n] && o->place[n] < 0) o->place[n] = done++;
    }
    for (int32_t n = 0; n < w->program.count; n++) /* what nobody needs */
        if (o->place[n] < 0) o->place[n] = done++;
}

/* Second, whatever can be done early without making more values wait is. */
static void order_by_readers(const widener *w, order *o) {
    const int32_t count = w->program.count;
    for (int32_t n = 0; n < count; n++) o->waits[n] = o->unread[n] = 0;
    for (int32_t n = 0; n < count; n++) {
        count_reads(w, o, n, false);
        for (int32_t k = 0; k < w->instructions[n].inputs; k++)
            o->waits[n] += w->instructions[n].in[k].sort == MGN_WIDE_VALUE;
    }
    for (int32_t done = 0; done < count; done++) {
        const int32_t n = best_next(w, o);
        count_reads(w, o, n, true);
        o->place[n] = done;
        o->waits[n] = -1;
        for (int32_t later = n + 1; later < count; later++)
            for (int32_t k = 0; k < w->instructions[later].inputs; k++) {
                const mgn_wide_source *in = &w->instructions[later].in[k];
                if (in->sort == MGN_WIDE_VALUE && in->index == n) o->waits[later]--;
            }
    }
}

static bool reorder(widener *w, mgn_arena *arena) {
    const size_t count = (size_t)w->program.count;
    order o;
    o.waits = mgn_arena_alloc(arena, count, sizeof *o.waits);
    o.unread = mgn_arena_alloc(arena, count, sizeof *o.unread);
    o.place = mgn_arena_alloc(arena, count, sizeof *o.place);
    if (!o.waits || !o.unread || !o.place) return false;
    order_by_results(w, &o);
    if (!apply_order(w, &o, arena)) return false;
    order_by_readers(w, &o);
    return apply_order(w, &o, arena);
}

/* ---- assignments ---- */

/* Whether an instruction from `first` on reads the external. */
static bool is_read_from(const widener *w, int32_t first, int32_t external) {
    for (int32_t n = first; n < w->program.count; n++)
        for (int32_t k = 0; k < w->instructions[n].inputs; k++) {
            const mgn_wide_source *in = &w->instructions[n].in[k];
            if (in->sort == MGN_WIDE_EXTERNAL && in->index == external) return true;
        }
    return false;
}

/* Results go straight to what they are assigned to, element by element, where nobody reads the old ones in between; else
 * they are copied at the end. False where an element's old value is read for another element. */
static bool assign(widener *w, mgn_arena *arena) {
    int32_t targets = 0;
    for (int id = 0; id < w->low->node_count; id++) targets += w->graph->nodes[id]->assigned != NULL;
    if (targets == 0) return true;
    mgn_wide_instruction *longer = mgn_arena_alloc(arena, (size_t)(w->program.count + targets), sizeof *longer);
    if (!longer) return false;
    memcpy(longer, w->instructions, (size_t)w->program.count * sizeof *longer);
    w->instructions = longer;
    for (int id = 0; id < w->low->node_count; id++) {
        const mgn_node *target = w->graph->nodes[id], *value = target->assigned;
        if (!value || !w->low->values[id].live) continue;
        if (target->is_output || !w->is_known[value->id] || w->of[value->id].sort != MGN_WIDE_VALUE) return false;
        const mgn_shape whole = MGN_SHAPE(w->program.rows, w->program.columns);
        if (mgn_shape_count(target->shape) != whole.dim[0] * whole.dim[1]) return false;
        const mgn_operand home = mgn_lower_stretched(mgn_operand_of(w->low->values[id].tensor), whole);
        if (home.stride[1] != 1) return false;
        const int32_t external = add_external(w, home).index, n = w->of[value->id].index;
        for (int32_t e = 0; e < w->program.external_count; e++)
            if (e != external && w->externals[e].memory && w->externals[e].memory == home.memory) return false;
        if (w->instructions[n].external < 0 && !is_read_from(w, n + 1, external)) {
            w->instructions[n].external = external;
            continue;
        }
        w->instructions[w->program.count++] = (mgn_wide_instruction){.opcode = MGN_WIDE_ELEMENTWISE,
                                                                     .op = MGN_OP_copy,
                                                                     .inputs = 1,
                                                                     .in = {w->of[value->id]},
                                                                     .external = external};
    }
    return true;
}

bool mgn_widen(mgn_lowering *low, const mgn_graph *graph, mgn_arena *arena, mgn_wide_program *program) {
    const size_t nodes = (size_t)low->node_count;
    widener w = {.low = low, .graph = graph, .program = {.real = low->real}};
    w.of = mgn_arena_alloc(arena, nodes, sizeof *w.of);
    w.is_known = mgn_arena_alloc(arena, nodes, sizeof *w.is_known);
    w.instructions = mgn_arena_alloc(arena, nodes, sizeof *w.instructions);
    w.externals = mgn_arena_alloc(arena, nodes * (MGN_MAX_INPUTS + 2), sizeof *w.externals);
    w.constants = mgn_arena_alloc(arena, nodes, sizeof *w.constants);
    if (!w.of || !w.is_known || !w.instructions || !w.externals || !w.constants) return false;
    for (int id = 0; id < low->node_count; id++)
        if (low->values[id].live && !take(&w, graph->nodes[id])) return false;
    if (w.program.count == 0 || !reorder(&w, arena) || !assign(&w, arena)) return false;
    *program = w.program;
    program->instructions = w.instructions;
    program->externals = w.externals;
    program->constants = w.constants;
    return true;
}
