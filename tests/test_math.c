/* The headers that C and OpenCL C share. The float functions of cl/mgn_math.h against the double library: every
 * exponent with denormals, both signs, the values where branches of the formulas meet, and what is not finite (the
 * double functions are tested as ops of the CPU backend). cl/mgn_random.h: known answers, moments, fair shuffles. */
#include "harness.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "mgn_math.h"
#include "mgn_random.h"

#ifdef MGN_REAL_IS_DOUBLE
#error "this test is about float"
#endif

enum { CHUNK = 4096 };

/* ---- the functions as loops, so that what is tested is what vectorises ---- */

typedef void loop_function(const float *in, float *out);

#define LOOP(f)                                                \
    static void loop_##f(const float *in, float *out) {        \
        for (int i = 0; i < CHUNK; i++) out[i] = m_##f(in[i]); \
    }
LOOP(sqrt)
LOOP(abs)
LOOP(exp)
LOOP(expm1)
LOOP(log)
LOOP(log1p)
LOOP(tanh)
LOOP(logistic)
LOOP(softplus)
LOOP(logcosh)

/* ---- references: other formulas, in double ---- */

static double want_logistic(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }

static double want_softplus(double x) { return x > 40 ? x : log1p(exp(x)); }

/* -log(sech): 1 - tanh^2 near 0 */
static double want_logcosh(double x) {
    double t = tanh(x);
    if (fabs(x) < 1e-5) return x * x / 2 * (1 - x * x / 6);
    return fabs(x) < 0.5 ? -0.5 * log1p(-t * t) : fabs(x) + log1p(expm1(-2 * fabs(x)) / 2);
}

typedef struct subject {
    const char *label;
    loop_function *loop;
    double (*want)(double);
    double meeting[3]; /* where formulas change */
} subject;

static const subject subjects[] = {
    {"sqrt", loop_sqrt, sqrt, {1}},
    {"abs", loop_abs, fabs, {1}},
    {"exp", loop_exp, exp, {0.34657359, 88.722839, 103.97208}},
    {"expm1", loop_expm1, expm1, {0.34657359, 88.722839, 17.0}},
    {"log", loop_log, log, {0.70710678, 1.41421356, 1}},
    {"log1p", loop_log1p, log1p, {0.29289322, 0.41421356, 1}},
    {"tanh", loop_tanh, tanh, {0.625, 9.0109129, 10}},
    {"logistic", loop_logistic, want_logistic, {0, 16.635532, 103.97208}},
    {"softplus", loop_softplus, want_softplus, {0.88137359, 15.942385, 103.97208}},
    {"logcosh", loop_logcosh, want_logcosh, {1, 40, 0.44068679}},
};
enum { SUBJECTS = sizeof subjects / sizeof subjects[0] };

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Distance in units of the last place of the exact result as a float; infinite for a wrong kind of number. */
static double distance(float found, double want) {
    if (isnan(want) || isnan(found)) return isnan(want) && isnan(found) ? 0 : HUGE_VAL;
    if (isinf((float)want) || isinf(found)) {
        /* The last finite float may round up where the exact value is within the allowed error of the limit. */
        return (float)want == found || fabs(want / (double)FLT_MAX - 1) < 2e-7 ? 0 : HUGE_VAL;
    }
    int exponent = -148;
    if (want != 0) frexp(want, &exponent);
    exponent = exponent - 24 < -149 ? -149 : exponent - 24;
    return fabs((double)found - want) / ldexp(1, exponent);
}

static double check_chunk(const subject *s, const float *in, float *at) {
    float out[CHUNK];
    double worst = 0;
    s->loop(in, out);
    for (int i = 0; i < CHUNK; i++) {
        double d = distance(out[i], s->want((double)in[i]));
        if (d > worst) {
            worst = d;
            *at = in[i];
        }
    }
    return worst;
}

/* Both signs, all 256 exponents, mantissas at both ends and at random. */
START_TEST(errors_stay_small_over_all_exponents) {
    const subject *s = &subjects[_i];
    mgn_test_random random = MGN_TEST_RANDOM();
    float in[CHUNK], at = 0, here = 0;
    double worst = 0;
    for (uint32_t high = 0; high < 512; high++) {
        for (uint32_t i = 0; i < CHUNK; i++) {
            uint32_t mantissa = i < 64 ? i : i < 128 ? 0x7fffff - (i - 64) : (uint32_t)mgn_test_bits(&random) >> 9;
            in[i] = from_bits(high << 23 | mantissa);
        }
        double d = check_chunk(s, in, &here);
        if (d > worst) {
            worst = d;
            at = here;
        }
    }
    printf("%-9s %.2f ulp at %.9g (over all exponents)\n", s->label, worst, (double)at);
    ck_assert_msg(worst <= 2.7, "m_%s is %.3g ulp off at %.9g (bits %a)", s->label, worst, (double)at, (double)at);
}
END_TEST

/* Every float near the places where a formula takes over, and many in the range where values are neither 0 nor 1. */
START_TEST(errors_stay_small_where_formulas_meet) {
    const subject *s = &subjects[_i];
    mgn_test_random random = MGN_TEST_RANDOM();
    float in[CHUNK], at = 0;
    for (int m = 0; m < 6; m++) {
        float middle = (float)(m % 2 ? -s->meeting[m / 2] : s->meeting[m / 2]);
        uint32_t bits;
        memcpy(&bits, &middle, sizeof bits);
        for (uint32_t i = 0; i < CHUNK; i++) in[i] = from_bits(bits + i - CHUNK / 2);
        double d = check_chunk(s, in, &at);
        ck_assert_msg(d <= 2.7, "m_%s is %.3g ulp off at %.9g", s->label, d, (double)at);
    }
    for (int round = 0; round < 64; round++) {
        for (int i = 0; i < CHUNK; i++) in[i] = (float)mgn_test_uniform(&random, -110, 110) / (float)(1 << round % 8);
        double d = check_chunk(s, in, &at);
        ck_assert_msg(d <= 2.7, "m_%s is %.3g ulp off at %.9g", s->label, d, (double)at);
    }
}
END_TEST

#define IS(call, value) ck_assert_msg((double)(call) == (double)(value), #call " is %.9g", (double)(call))
#define IS_NAN(call) ck_assert_msg(isnan(call), #call " is %.9g", (double)(call))

START_TEST(special_values) {
    const float inf = INFINITY, nan = NAN;
    IS(m_exp(0.0f), 1), IS(m_exp(-0.0f), 1), IS(m_exp(inf), inf), IS(m_exp(-inf), 0), IS(m_exp(89.0f), inf);
    IS(m_exp(-104.0f), 0);
    IS(m_expm1(0.0f), 0), IS(m_expm1(inf), inf), IS(m_expm1(-inf), -1), IS(m_expm1(1e-40f), 1e-40f);
    IS(m_log(1.0f), 0), IS(m_log(0.0f), -inf), IS(m_log(-0.0f), -inf), IS(m_log(inf), inf);
    IS_NAN(m_log(-1.0f)), IS_NAN(m_log(-inf)), IS_NAN(m_log(-1e-45f));
    IS(m_log1p(0.0f), 0), IS(m_log1p(-1.0f), -inf), IS(m_log1p(inf), inf), IS_NAN(m_log1p(-1.0000001f));
    IS(m_log1p(1e-40f), 1e-40f);
    IS(m_tanh(inf), 1), IS(m_tanh(-inf), -1), IS(m_tanh(0.0f), 0), IS(m_tanh(1e-40f), 1e-40f);
    ck_assert(signbit(m_tanh(-0.0f)));
    IS(m_logistic(inf), 1), IS(m_logistic(-inf), 0), IS(m_logistic(0.0f), 0.5f);
    IS(m_softplus(inf), inf), IS(m_softplus(-inf), 0), IS(m_softplus(-80.0f), m_exp(-80.0f));
    ck_assert(m_softplus(-80.0f) > 0);
    ck_assert(m_softplus(-100.0f) > 0 && m_softplus(-100.0f) < FLT_MIN);
    ck_assert(m_logistic(-100.0f) > 0 && m_logistic(-100.0f) < FLT_MIN);
    IS(m_logcosh(inf), inf), IS(m_logcosh(-inf), inf), IS(m_logcosh(0.0f), 0),
        IS(m_logcosh(1e-10f), 1e-10f * 1e-10f / 2);
    IS(m_sqrt(0.0f), 0), IS(m_sqrt(inf), inf), IS_NAN(m_sqrt(-1.0f));
    for (int i = 0; i < SUBJECTS; i++) {
        float in[CHUNK], out[CHUNK];
        for (int j = 0; j < CHUNK; j++) in[j] = j % 2 ? nan : -nan;
        subjects[i].loop(in, out);
        for (int j = 0; j < CHUNK; j++) {
            if (!isnan(out[j])) ck_abort_msg("%s of NaN is %g", subjects[i].label, (double)out[j]);
        }
    }
}
END_TEST

START_TEST(symmetries_are_exact) {
    mgn_test_random random = MGN_TEST_RANDOM();
    for (int i = 0; i < 100000; i++) {
        float x = (float)mgn_test_uniform(&random, -12, 12);
        if (m_tanh(-x) != -m_tanh(x) || m_logcosh(-x) != m_logcosh(x) || m_abs(-x) != m_abs(x))
            ck_abort_msg("a symmetry is broken at %.9g", (double)x);
    }
}
END_TEST

/* ---- random numbers ---- */

/* The known answers that Random123 ships for 10 rounds. */
START_TEST(philox_gives_the_known_answers) {
    static const uint32_t known[][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
         0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
         0x24126ea1},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        philox4x32_ctr_t counter = {{known[i][0], known[i][1], known[i][2], known[i][3]}};
        philox4x32_key_t key = {{known[i][4], known[i][5]}};
        counter = philox4x32(counter, key);
        for (int j = 0; j < 4; j++) ck_assert_uint_eq(counter.v[j], known[i][6 + j]);
    }
}
END_TEST

/* The extreme words give finite normals, uniforms inside (0, 1), and the longest radius is that of 2^-33. */
START_TEST(extreme_words) {
    static const uint32_t words[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    for (int i = 0; i < 36; i++) {
        float x, y, u = m_uniform_of(words[i / 6]);
        m_normal_of(words[i / 6], words[i % 6], &x, &y);
        double radius = sqrt((double)x * (double)x + (double)y * (double)y), u_exact = (words[i / 6] + 0.5) * 0x1p-32;
        ck_assert_msg(u > 0 && u < 1, "uniform of %#x is %g", words[i / 6], (double)u);
        ck_assert_msg(fabs(radius - sqrt(-2 * log(u_exact))) < 3e-4, "radius of %#x is %g", words[i / 6], radius);
    }
}
END_TEST

START_TEST(normals_have_the_right_moments) {
    enum { COUNT = 1 << 20 };
    static double x[COUNT];
    double moment[5] = {0}, product = 0, beyond = 0;
    uint32_t seed = (uint32_t)mgn_test_seed();
    for (uint32_t i = 0; i < COUNT; i += 4) {
        philox4x32_ctr_t words = m_random_block(seed, 1, i / 4, 2, 3);
        float pair[4];
        m_normal_of(words.v[0], words.v[1], &pair[0], &pair[1]);
        m_normal_of(words.v[2], words.v[3], &pair[2], &pair[3]);
        for (int q = 0; q < 4; q++) x[i + (uint32_t)q] = (double)pair[q];
    }
    for (int i = 0; i < COUNT; i++) {
        for (int p = 1; p < 5; p++) moment[p] += pow(x[i], p) / COUNT;
        product += i ? x[i] * x[i - 1] / COUNT : 0;
        beyond += fabs(x[i]) > 3 ? 1.0 / COUNT : 0;
    }
    double five = 5 / sqrt(COUNT); /* standard errors */
    ck_assert_msg(fabs(moment[1]) < five, "mean %g", moment[1]);
    ck_assert_msg(fabs(moment[2] - 1) < five * sqrt(2), "variance %g", moment[2]);
    ck_assert_msg(fabs(moment[3]) < five * sqrt(15), "third moment %g", moment[3]);
    ck_assert_msg(fabs(moment[4] - 3) < five * sqrt(96), "fourth moment %g", moment[4]);
    ck_assert_msg(fabs(product) < five, "neighbours correlate: %g", product);
    ck_assert_msg(fabs(beyond - 0.0026998) < five * sqrt(0.0027), "%g are beyond 3", beyond);
}
END_TEST

/* Over epochs, every entry comes to every position, and follows every other, about equally often. */
START_TEST(shuffles_have_no_favourites) {
    enum { POPULATION = 500, EPOCHS = 10000 };
    static int places[POPULATION][POPULATION], steps[POPULATION];
    for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
        m_shuffle_key key = m_shuffle_start(5, 6, epoch, POPULATION);
        for (uint32_t i = 0, before = 0; i < POPULATION; i++) {
            uint32_t entry = m_shuffle(key, i);
            places[i][entry]++;
            if (i > 0) steps[(entry + POPULATION - before) % POPULATION]++;
            before = entry;
        }
    }
    double uneven_places = 0, uneven_steps = 0, expected = (double)EPOCHS / POPULATION;
    for (int i = 0; i < POPULATION * POPULATION; i++)
        uneven_places += pow(places[i / POPULATION][i % POPULATION] - expected, 2) / expected;
    for (int i = 1; i < POPULATION; i++) uneven_steps += pow(steps[i] - EPOCHS, 2) / EPOCHS;
    /* chi squared: its degrees of freedom and 6 standard deviations */
    double freedom = (POPULATION - 1.0) * (POPULATION - 1.0), step_freedom = POPULATION - 2.0;
    ck_assert_msg(uneven_places < freedom + 6 * sqrt(2 * freedom), "places: chi squared is %g", uneven_places);
    ck_assert_msg(uneven_steps < step_freedom + 6 * sqrt(2 * step_freedom), "steps: chi squared is %g", uneven_steps);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("math");
    TCase *tests = tcase_create("float");
    tcase_set_timeout(tests, 100);
    tcase_add_loop_test(tests, errors_stay_small_over_all_exponents, 0, SUBJECTS);
    tcase_add_loop_test(tests, errors_stay_small_where_formulas_meet, 0, SUBJECTS);
    tcase_add_test(tests, special_values);
    tcase_add_test(tests, symmetries_are_exact);
    suite_add_tcase(suite, tests);
    TCase *random = tcase_create("random");
    tcase_set_timeout(random, 100);
    tcase_add_test(random, philox_gives_the_known_answers);
    tcase_add_test(random, extreme_words);
    tcase_add_test(random, normals_have_the_right_moments);
    tcase_add_test(random, shuffles_have_no_favourites);
    suite_add_tcase(suite, random);
    return mgn_test_main(suite);
}
