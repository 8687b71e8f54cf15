/* Numeric tables as text. One pass over the bytes: fields are cut where they stand and parsed by strtod_l in the "C"
 * locale, so that a decimal comma in the user's locale changes nothing. A table that is not all numbers is refused with
 * the line and column, never guessed at. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <mgn/data.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "data/data.h"

enum { LONGEST_NUMBER = 127 };

typedef struct reader {
    const char *at, *end, *label;
    char separator; /* ' ' stands for any run of blanks */
    int64_t line;   /* of `at`, counted from 1 */
    locale_t locale;
    float *values;
    int64_t rows, columns, capacity; /* capacity in values */
} reader;

typedef struct field {
    const char *text;
    size_t length;
    bool quoted, ends_line;
} field;

static bool is_blank(char c) { return c == ' ' || c == '\t'; }
static bool is_newline(char c) { return c == '\n' || c == '\r'; }

/* Steps over one line end, of whichever kind. */
static void skip_newline(reader *r) {
    if (r->at == r->end) return;
    const char first = *r->at++;
    if (first == '\r' && r->at < r->end && *r->at == '\n') r->at++;
    r->line++;
}

/* Moves to the first byte of the next line that holds data; false at the end of the text. */
static bool next_line(reader *r) {
    while (r->at < r->end) {
        const char *c = r->at;
        while (c < r->end && is_blank(*c)) c++;
        if (c < r->end && !is_newline(*c) && *c != '#') return true;
        while (c < r->end && !is_newline(*c)) c++;
        r->at = c;
        skip_newline(r);
    }
    return false;
}

static char find_separator(const reader *r) {
    bool quoted = false, comma = false, tab = false;
    for (const char *c = r->at; c < r->end && (quoted || !is_newline(*c)); c++) {
        if (*c == '"') quoted = !quoted;
        if (quoted) continue;
        if (*c == ';') return ';';
        comma = comma || *c == ',';
        tab = tab || *c == '\t';
    }
    return comma ? ',' : tab ? '\t' : ' ';
}

/* A blank that pads a field, not one that separates it. */
static bool is_padding(const reader *r, char c) { return is_blank(c) && c != (r->separator == '\t' ? '\t' : 0); }

static mgn_status quoted_field(reader *r, field *f) {
    const int64_t line = r->line;
    f->quoted = true;
    f->text = ++r->at;
    for (; r->at < r->end; r->at++) {
        if (*r->at == '\n') r->line++;
        if (*r->at != '"') continue;
        if (r->at + 1 == r->end || r->at[1] != '"') break;
        r->at++; /* "" is a quote within the field */
    }
    if (r->at == r->end)
        return mgn_fail(MGN_ERR_FORMAT, "%s: the quote that opens in line %lld is never closed", r->label,
                        (long long)line);
    f->length = (size_t)(r->at++ - f->text);
    return MGN_OK;
}

/* Cuts one field and steps over the separator or line end behind it. */
static mgn_status next_field(reader *r, field *f) {
    *f = (field){0};
    while (r->at < r->end && is_padding(r, *r->at)) r->at++;
    if (r->at < r->end && *r->at == '"') {
        MGN_TRY(quoted_field(r, f));
    } else {
        f->text = r->at;
        while (r->at < r->end && !is_newline(*r->at) && *r->at != r->separator &&
               !(r->separator == ' ' && *r->at == '\t'))
            r->at++;
        f->length = (size_t)(r->at - f->text);
        while (f->length && is_blank(f->text[f->length - 1])) f->length--;
    }
    while (r->at < r->end && is_padding(r, *r->at)) r->at++;
    if (r->at == r->end || is_newline(*r->at)) {
        f->ends_line = true;
        skip_newline(r);
    } else if (*r->at == r->separator) {
        r->at++;
    } else if (f->quoted && r->separator != ' ') {
        return mgn_fail(MGN_ERR_FORMAT, "%s, line %lld: a separator was expected after a closing quote", r->label,
                        (long long)r->line);
    }
    return MGN_OK;
}

static bool parse_number(const reader *r, const field *f, double *value) {
    char text[LONGEST_NUMBER + 1], *stop;
    if (f->length == 0 || f->length > LONGEST_NUMBER) return false;
    memcpy(text, f->text, f->length);
    text[f->length] = 0;
    *value = strtod_l(text, &stop, r->locale);
    return stop == text + f->length;
}

/* Steps over the first line when it names the columns. */
static mgn_status skip_header(reader *r) {
    const reader start = *r;
    bool quoted = false, number = false;
    field f;
    do {
        double value;
        MGN_TRY(next_field(r, &f));
        quoted = quoted || f.quoted;
        number = number || parse_number(r, &f, &value);
    } while (!f.ends_line);
    if (number && !quoted) *r = start;
    return MGN_OK;
}

static mgn_status append(reader *r, int64_t line, int64_t column, const field *f) {
    double value;
    if (!parse_number(r, f, &value)) {
        const mgn_printable shown = mgn_make_printable(f->text, f->length);
        return mgn_fail(MGN_ERR_FORMAT,
                        "%s, line %lld, column %lld: a number (with a decimal point) was expected, not \"%s\"",
                        r->label, (long long)line, (long long)column, shown.text);
    }
    if (!mgn_fits_float(value))
        return mgn_fail(MGN_ERR_NUMERIC, "%s, line %lld, column %lld: the value is %g; a finite float was expected",
                        r->label, (long long)line, (long long)column, value);
    const int64_t index = r->rows * r->columns + column - 1;
    if (index == r->capacity) {
        const int64_t capacity = r->capacity ? 2 * r->capacity : 1024;
        float *grown = mgn_realloc(r->values, (size_t)capacity, sizeof *grown);
        if (!grown) return MGN_ERR_MEMORY;
        r->values = grown;
        r->capacity = capacity;
    }
    r->values[index] = (float)value;
    return MGN_OK;
}

static mgn_status read_row(reader *r) {
    const int64_t line = r->line;
    int64_t count = 0;
    field f;
    do {
        MGN_TRY(next_field(r, &f));
        count++;
        if (r->rows && count > r->columns) continue; /* only counted, for the sentence below */
        MGN_TRY(append(r, line, count, &f));
    } while (!f.ends_line);
    if (r->rows == 0) r->columns = count;
    if (count != r->columns)
        return mgn_fail(MGN_ERR_FORMAT, "%s, line %lld: %lld fields as in the lines before were expected, not %lld",
                        r->label, (long long)line, (long long)r->columns, (long long)count);
    r->rows++;
    return MGN_OK;
}

static mgn_status read_rows(reader *r) {
    if (next_line(r)) {
        r->separator = find_separator(r);
        MGN_TRY(skip_header(r));
    }
    while (next_line(r)) MGN_TRY(read_row(r));
    if (r->rows == 0)
        return mgn_fail(MGN_ERR_FORMAT, "%s: rows of numbers were expected, but there are none", r->label);
    return MGN_OK;
}

mgn_status mgn_csv_parse(const void *bytes, size_t size, const char *label, mgn_matrix *matrix) {
    if (!bytes || !label || !matrix)
        return mgn_fail(MGN_ERR_ARGUMENT, "reading csv needs bytes, a label and a place for the table, not NULL");
    reader r = {.at = bytes, .end = (const char *)bytes + size, .label = label, .line = 1};
    if (size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) r.at += 3;
    r.locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!r.locale) return mgn_fail(MGN_ERR_MEMORY, "%s: the locale for reading numbers cannot be set up", label);
    mgn_status status = read_rows(&r);
    freelocale(r.locale);
    mgn_matrix made = {0};
    if (status == MGN_OK) status = mgn_matrix_create(r.rows, r.columns, &made);
    if (status == MGN_OK) {
        memcpy(made.values, r.values, (size_t)(r.rows * r.columns) * sizeof(float));
        *matrix = made;
    }
    mgn_free(r.values);
    return status;
}

mgn_status mgn_csv_read(const char *path, mgn_matrix *matrix) {
    if (!path || !matrix)
        return mgn_fail(MGN_ERR_ARGUMENT, "reading csv needs a path and a place for the table, not NULL");
    unsigned char *bytes;
    size_t size;
    MGN_TRY(mgn_file_read(path, SIZE_MAX, &bytes, &size));
    const mgn_status status = mgn_csv_parse(bytes, size, path, matrix);
    mgn_free(bytes);
    return status;
}

static void write_rows(FILE *stream, const mgn_matrix *matrix, const char *const *names) {
    for (int64_t column = 0; names && column < matrix->columns; column++) {
        if (column) putc(',', stream);
        putc('"', stream);
        for (const char *c = names[column]; *c; c++) {
            if (*c == '"') putc('"', stream);
            putc(*c, stream);
        }
        putc('"', stream);
    }
    if (names) putc('\n', stream);
    for (int64_t i = 0; i < matrix->rows * matrix->columns; i++)
        fprintf(stream, "%.9g%c", (double)matrix->values[i], (i + 1) % matrix->columns ? ',' : '\n');
}

mgn_status mgn_csv_write(const char *path, const mgn_matrix *matrix, const char *const *names) {
    if (!path || !matrix || !matrix->values || matrix->rows < 1 || matrix->columns < 1)
        return mgn_fail(MGN_ERR_ARGUMENT, "writing csv needs a path and a table that is not empty");
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!plain) return mgn_fail(MGN_ERR_MEMORY, "%s: the locale for writing numbers cannot be set up", path);
    mgn_output_file *output;
    mgn_status status = mgn_output_open(path, &output);
    if (status == MGN_OK) {
        const locale_t before = uselocale(plain); /* of this thread only */
        write_rows(mgn_output_stream(output), matrix, names);
        uselocale(before);
        status = mgn_output_commit(output);
    }
    freelocale(plain);
    return status;
}
