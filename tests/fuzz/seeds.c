/* Seeds that are made rather than kept: whatever the library writes is a good beginning for its readers. Formats that it only
 * reads, and texts, are files in seeds/. */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include <mgn/look.h>
#include <mgn/mixture.h>

#include "core/core.h"
#include "core/file.h"
#include "fuzz_checkpoint.h"
#include "image/codec.h"

static const char *root;

/* root/<target>/<name>; one of four buffers in turn. */
static const char *path_of(const char *target, const char *name) {
    static char paths[4][512];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", root, target);
    fuzz_check(mgn_make_directory(path) == MGN_OK, "a folder of seeds cannot be made");
    snprintf(path, sizeof paths[0], "%s/%s/%s", root, target, name);
    return path;
}

static void done(mgn_status status) { fuzz_check(status == MGN_OK, "a seed cannot be made"); }

static void write_seed(const char *target, const char *name, const void *bytes, size_t size) {
    mgn_output_file *output = NULL;
    done(mgn_output_open(path_of(target, name), &output));
    done(mgn_output_write(output, bytes, size));
    done(mgn_output_commit(output));
}

static void make_tables(void) {
    mgn_matrix table = {0};
    done(mgn_matrix_create(3, 2, &table));
    for (int i = 0; i < 6; i++) table.values[i] = (float)i / 4;
    done(mgn_npy_write(path_of("npy", "f4.npy"), &table));
    done(mgn_csv_write(path_of("csv", "plain.csv"), &table, NULL));
    mgn_matrix_free(&table);
}

/* The headers as other programs write them: types, orders and versions. */
static void make_npy(void) {
    static const char *const types[] = {"<f8", ">f4", "|u1", "<i2", ">i8", "|b1", "<u4"};
    for (size_t i = 0; i < MGN_COUNT(types); i++) {
        char file[256] = "\x93NUMPY\x01", name[24];
        const size_t item = (size_t)(types[i][2] - '0');
        const int length = snprintf(file + 10, 100, "{'descr': '%s', 'fortran_order': %s, 'shape': (2, %d), }\n",
                                    types[i], i % 2 ? "True" : "False", 2);
        file[8] = (char)length;
        snprintf(name, sizeof name, "%s.npy", types[i] + 1);
        write_seed("npy", name, file, 10 + (size_t)length + 4 * item);
    }
}

static void make_idx(void) {
    unsigned char plain[16 + 8] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8}, packed[128];
    write_seed("idx", "pictures", plain, sizeof plain);
    z_stream z = {.next_in = plain, .avail_in = sizeof plain, .next_out = packed, .avail_out = sizeof packed};
    const bool is_made = deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK &&
                         deflate(&z, Z_FINISH) == Z_STREAM_END && deflateEnd(&z) == Z_OK;
    fuzz_check(is_made, "zlib does not deflate");
    write_seed("idx", "pictures.gz", packed, z.total_out);
    unsigned char records[2 * 3073] = {3};
    write_seed("cifar", "records", records, sizeof records);
}

static void make_maps(void) {
    static const double shift[] = {1, 2, 3}, matrix[] = {1, 1, 1};
    const mgn_model_frame frame = {.shift = shift, .matrix = matrix, .offset = shift, .factor = 2, .is_diagonal = true};
    mgn_look look = MGN_LOOK;
    const char *kind;
    for (size_t i = 0; (kind = mgn_model_kind(i)); i++) {
        mgn_model *model = NULL;
        mgn_model_config config = {.d = 3, .h = 2, .layers = 1};
        snprintf(config.kind, sizeof config.kind, "%s", kind);
        config.activation = mgn_model_usual_activation(kind);
        if (strcmp(kind, "conv-cmgn") == 0) {
            config.image = (mgn_image_shape){1, 3, 1};
            config.kernel = 1;
        }
        done(mgn_model_create(&config, 1, &model));
        look.strength = (double)i / 16;
        if (i == 0) done(mgn_model_set_frame(model, &frame));
        if (i < 2)
            done(mgn_look_save(model, &look, path_of("map", kind)));
        else
            done(mgn_model_save(model, path_of("map", kind)));
        mgn_model_destroy(model);
    }
}

static void make_mixtures(void) {
    mgn_mixture mixture = {0};
    done(mgn_mixture_create(2, 2, &mixture));
    for (int j = 0; j < 2; j++) {
        mixture.weights[j] = .5;
        mixture.means[2 * j] = j;
        mixture.covariances[4 * j] = mixture.covariances[4 * j + 3] = 1;
    }
    done(mgn_mixture_save(&mixture, path_of("mixture", "two.json")));
    done(mgn_mixture_save(&mixture, path_of("mixture", "two.safetensors")));
    mgn_mixture_free(&mixture);
}

static void make_safetensors(void) {
    static const uint32_t whole[] = {1, 2, 3};
    static const double real[] = {1, 2};
    mgn_safetensors file = {0};
    done(mgn_safetensors_add(&file, "whole", MGN_U32, MGN_SHAPE(3), whole));
    done(mgn_safetensors_add(&file, "real", MGN_F64, MGN_SHAPE(2, 1), real));
    done(mgn_safetensors_set(&file, "key", "text"));
    done(mgn_safetensors_write(path_of("safetensors", "two"), &file));
    mgn_safetensors_free(&file);
}

static void make_checkpoint(void) {
    fuzz_session f;
    fuzz_checkpoint_session(&f, NULL, path_of("checkpoint", "begun"));
    done(mgn_session_begin(&f.session, NULL, NULL));
    done(mgn_session_epoch(&f.session, 1, 1e-3));
    fuzz_checkpoint_end(&f, MGN_OK);
}

/* A small TIFF stream with an orientation, a profile for colours, XMP and a comment. */
static void carry(mgn_image *image) {
    static const unsigned char exif[] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3,
                                         0,   1,   0,  0, 0, 6, 0, 0, 0, 0, 0,    0, 0};
    static const char xmp[] = "<x:xmpmeta xmlns:x='adobe:ns:meta/' tiff:Orientation=\"6\"/>";
    unsigned char profile[132] = {0, 0, 0, 132};
    memcpy(profile + 16, "RGB ", 4);
    memcpy(profile + 36, "acsp", 4);
    done(mgn_image_set_block(image, MGN_IMAGE_EXIF, exif, sizeof exif));
    done(mgn_image_set_block(image, MGN_IMAGE_XMP, xmp, sizeof xmp - 1));
    done(mgn_image_set_block(image, MGN_IMAGE_ICC, profile, sizeof profile));
    done(mgn_image_set_block(image, MGN_IMAGE_COMMENT, "made for readers", 16));
    char block[sizeof xmp] = {1};
    memcpy(block + 1, exif, sizeof exif);
    write_seed("exif", "exif", block, 1 + sizeof exif);
    block[0] = 2;
    memcpy(block + 1, xmp, sizeof xmp - 1);
    write_seed("exif", "xmp", block, sizeof xmp);
}

static void make_pictures(void) {
    for (int channels = 1; channels <= 4; channels++)
        for (int depth = 8; depth <= 16; depth += 8) {
            mgn_image *image = NULL;
            char name[32];
            done(mgn_image_create(9, 5, channels, depth, &image));
            for (size_t i = 0; i < 9 * 5 * (size_t)channels; i++) ((uint8_t *)image->pixels)[i] = (uint8_t)(37 * i);
            if (channels == 3) carry(image);
            snprintf(name, sizeof name, "%d-%d.png", channels, depth);
            done(mgn_image_write(image, path_of("image", name), NULL));
            snprintf(name, sizeof name, "%d-%d.jpg", channels, depth);
            done(mgn_image_write(image, path_of("image", name), NULL));
            mgn_image_destroy(image);
        }
}

/* The first byte has the checksum set right; see cache.c. */
static void make_cache(void) {
    static const char key[] = "device 1\nsource";
    uint8_t file[1 + 32 + sizeof key - 1 + 4] = {1, 'M', 'G', 'N', 'C', 'L', 'B', '1', 0, sizeof key - 1};
    file[17] = 4;
    memcpy(file + 33, key, sizeof key - 1);
    write_seed("cache", "whole", file, sizeof file);
}

void fuzz_make_seeds(const char *folder) {
    root = folder;
    make_tables();
    make_npy();
    make_idx();
    make_maps();
    make_mixtures();
    make_safetensors();
    make_checkpoint();
    make_pictures();
    make_cache();
}
