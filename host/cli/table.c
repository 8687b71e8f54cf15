#include "table.h"

#include <stdio.h>
#include <string.h>

enum { MAX_COLUMNS = 16, MAX_CELL = 256 };

struct cli_table {
    mgn_arena *arena;
    size_t columns, cells, capacity;
    size_t width[MAX_COLUMNS];
    bool right[MAX_COLUMNS], failed;
    char **text; /* row by row; the headings are row 0 */
};

/* Columns on a terminal, near enough: the characters of a UTF-8 text. */
static size_t characters(const char *text) {
    size_t count = 0;
    for (; *text; text++) count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static void add_cell(cli_table *table, const char *text) {
    if (table->failed) return;
    if (table->cells == table->capacity) {
        char **grown = mgn_realloc(table->text, 2 * table->capacity + 64, sizeof *grown);
        table->failed = !grown;
        if (!grown) return;
        table->text = grown;
        table->capacity = 2 * table->capacity + 64;
    }
    char *copy = mgn_arena_strdup(table->arena, text);
    table->failed = !copy;
    if (!copy) return;
    size_t column = table->cells % table->columns;
    table->width[column] = MGN_MAX(table->width[column], characters(text));
    table->text[table->cells++] = copy;
}

void cli_table_destroy(cli_table *table) {
    if (!table) return;
    mgn_free(table->text);
    mgn_arena_destroy(table->arena);
    mgn_free(table);
}

cli_table *cli_table_create(const char *headings) {
    cli_table *table = mgn_alloc(1, sizeof *table);
    if (!table) return NULL;
    table->arena = mgn_arena_create();
    table->failed = !table->arena;
    table->columns = 1;
    for (const char *c = headings; *c; c++) table->columns += *c == '|' && table->columns < MAX_COLUMNS;
    for (size_t i = 0; i < table->columns; i++) {
        char heading[MAX_CELL];
        size_t length = strcspn(headings, "|");
        table->right[i] = *headings == '>';
        snprintf(heading, sizeof heading, "%.*s", (int)(length - table->right[i]), headings + table->right[i]);
        add_cell(table, heading);
        headings += length + (headings[length] == '|');
    }
    return table;
}

void cli_table_cell(cli_table *table, const char *format, ...) {
    if (!table) return;
    char text[MAX_CELL];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add_cell(table, text);
}

mgn_status cli_table_print(cli_table *table) {
    if (!table) return MGN_ERR_MEMORY;
    for (size_t i = 0; i < table->cells; i++) {
        size_t column = i % table->columns, padding = table->width[column] - characters(table->text[i]);
        bool last = column + 1 == table->columns;
        if (table->right[column]) printf("%*s", (int)padding, "");
        printf("%s", table->text[i]);
        if (!table->right[column] && !last) printf("%*s", (int)padding, "");
        printf("%s", last || i + 1 == table->cells ? "\n" : "  ");
    }
    mgn_status status = table->failed ? MGN_ERR_MEMORY : MGN_OK;
    cli_table_destroy(table);
    return status;
}
