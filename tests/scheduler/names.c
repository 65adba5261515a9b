/* What samplers and schedules may be called, and what is said about names that are none. */
#include "scheduler/scheduler.h"
#include "tests/check.h"

static void expect(const char *name, enum sched_sampler sampler, enum sched_schedule schedule)
{
    g_autoptr(GError) error = NULL;
    enum sched_sampler got = SCHED_N_SAMPLERS;
    enum sched_schedule got_schedule = SCHEDULE_AUTOMATIC;
    bool good = sched_sampler_parse(name, &got, &got_schedule, &error);
    CHECK(good, "%s", error ? error->message : "");
    CHECK(got == sampler, "'%s' is read as sampler %d", name, got);
    CHECK(got_schedule == schedule, "'%s' is read with schedule %d", name, got_schedule);
}

static void test_samplers(void)
{
    for (int i = 0; i < SCHED_N_SAMPLERS; i++)
        expect(sched_sampler_name((enum sched_sampler)i), (enum sched_sampler)i,
               SCHEDULE_AUTOMATIC);
    static const struct {
        const char *name;
        enum sched_sampler sampler;
    } other[] = {
        /* ComfyUI */
        {"euler", SCHED_EULER},
        {"euler_ancestral", SCHED_EULER_A},
        {"heun", SCHED_HEUN},
        {"dpm_2", SCHED_DPM2},
        {"dpm_2_ancestral", SCHED_DPM2_A},
        {"lms", SCHED_LMS},
        {"dpmpp_2s_ancestral", SCHED_DPMPP_2S_A},
        {"dpmpp_sde", SCHED_DPMPP_SDE},
        {"dpmpp_sde_gpu", SCHED_DPMPP_SDE},
        {"dpmpp_2m", SCHED_DPMPP_2M},
        {"dpmpp_2m_sde", SCHED_DPMPP_2M_SDE},
        {"dpmpp_2m_sde_heun", SCHED_DPMPP_2M_SDE_HEUN},
        {"dpmpp_3m_sde", SCHED_DPMPP_3M_SDE},
        {"ddpm", SCHED_DDPM},
        {"lcm", SCHED_LCM},
        {"ipndm", SCHED_IPNDM},
        {"ddim", SCHED_DDIM},
        {"uni_pc", SCHED_UNIPC},
        {"uni_pc_bh2", SCHED_UNIPC},
        /* stable-diffusion.cpp */
        {"euler_a", SCHED_EULER_A},
        {"dpm++2m", SCHED_DPMPP_2M},
        {"dpm++2mv2", SCHED_DPMPP_2M},
        {"dpm++2s_a", SCHED_DPMPP_2S_A},
        {"dpm2", SCHED_DPM2},
        {"ddim_trailing", SCHED_DDIM},
        {"tcd", SCHED_TCD},
        /* k-diffusion */
        {"k_euler_a", SCHED_EULER_A},
        {"k_lms", SCHED_LMS},
        {"sample_dpmpp_2m", SCHED_DPMPP_2M},
        /* diffusers */
        {"EulerDiscreteScheduler", SCHED_EULER},
        {"EulerAncestralDiscreteScheduler", SCHED_EULER_A},
        {"EulerDiscrete", SCHED_EULER},
        {"HeunDiscreteScheduler", SCHED_HEUN},
        {"KDPM2DiscreteScheduler", SCHED_DPM2},
        {"KDPM2AncestralDiscreteScheduler", SCHED_DPM2_A},
        {"LMSDiscreteScheduler", SCHED_LMS},
        {"DPMSolverMultistepScheduler", SCHED_DPMPP_2M},
        {"DPMSolverSinglestepScheduler", SCHED_DPMPP_SDE},
        {"DPMSolverSDEScheduler", SCHED_DPMPP_SDE},
        {"UniPCMultistepScheduler", SCHED_UNIPC},
        {"PNDMScheduler", SCHED_PLMS},
        {"DDIMScheduler", SCHED_DDIM},
        {"DDPMScheduler", SCHED_DDPM},
        {"LCMScheduler", SCHED_LCM},
        {"TCDScheduler", SCHED_TCD},
        /* Anyhow */
        {"  dpm++   2m  ", SCHED_DPMPP_2M},
        {"DPM++-2M-SDE", SCHED_DPMPP_2M_SDE},
        {"EULER A", SCHED_EULER_A},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(other); i++)
        expect(other[i].name, other[i].sampler, SCHEDULE_AUTOMATIC);
}

static void test_suffixes(void)
{
    expect("DPM++ 2M Karras", SCHED_DPMPP_2M, SCHEDULE_KARRAS);
    expect("DPM++ 2M SDE Karras", SCHED_DPMPP_2M_SDE, SCHEDULE_KARRAS);
    expect("DPM++ 2M SDE Heun Exponential", SCHED_DPMPP_2M_SDE_HEUN, SCHEDULE_EXPONENTIAL);
    expect("DPM++ 2S a Karras", SCHED_DPMPP_2S_A, SCHEDULE_KARRAS);
    expect("LMS Karras", SCHED_LMS, SCHEDULE_KARRAS);
    expect("k_dpmpp_2m_ka", SCHED_DPMPP_2M, SCHEDULE_KARRAS);
    expect("euler_a karras", SCHED_EULER_A, SCHEDULE_KARRAS);
    expect("Euler SGM Uniform", SCHED_EULER, SCHEDULE_SGM_UNIFORM);
    expect("DPM++ 3M SDE Polyexponential", SCHED_DPMPP_3M_SDE, SCHEDULE_POLYEXPONENTIAL);
    enum sched_schedule schedule = SCHEDULE_BETA;
    CHECK(sched_sampler_parse("Euler", NULL, &schedule, NULL) && schedule == SCHEDULE_BETA,
          "a name without a schedule changes it");
    CHECK(sched_sampler_parse("LMS Karras", NULL, NULL, NULL), "nowhere to put it");
}

static void test_schedules(void)
{
    static const struct {
        const char *name;
        enum sched_schedule schedule;
    } other[] = {
        {"automatic", SCHEDULE_AUTOMATIC},
        {"karras", SCHEDULE_KARRAS},
        {"exponential", SCHEDULE_EXPONENTIAL},
        {"sgm_uniform", SCHEDULE_SGM_UNIFORM},
        {"SGMUniform", SCHEDULE_SGM_UNIFORM},
        {"simple", SCHEDULE_SIMPLE},
        {"ddim_uniform", SCHEDULE_DDIM_UNIFORM},
        {"ddim", SCHEDULE_DDIM_UNIFORM},
        {"beta", SCHEDULE_BETA},
        {"normal", SCHEDULE_NORMAL},
        {"kl_optimal", SCHEDULE_KL_OPTIMAL},
        {"ays", SCHEDULE_ALIGN_YOUR_STEPS},
        {"align_your_steps", SCHEDULE_ALIGN_YOUR_STEPS},
        {"discrete", SCHEDULE_UNIFORM},
        {"trailing", SCHEDULE_TRAILING},
        {"Polyexponential", SCHEDULE_POLYEXPONENTIAL},
    };
    for (int i = 0; i < SCHED_N_SCHEDULES; i++) {
        enum sched_schedule got = SCHED_N_SCHEDULES;
        sched_schedule_parse(sched_schedule_name((enum sched_schedule)i), &got, NULL);
        CHECK((int)got == i, "%s", sched_schedule_name((enum sched_schedule)i));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(other); i++) {
        enum sched_schedule got = SCHED_N_SCHEDULES;
        CHECK(sched_schedule_parse(other[i].name, &got, NULL) && got == other[i].schedule,
              "'%s' is read as %d", other[i].name, got);
    }
}

static void expect_unknown(const char *name, const char *words)
{
    g_autoptr(GError) error = NULL;
    enum sched_sampler sampler = SCHED_PLMS;
    CHECK(!sched_sampler_parse(name, &sampler, NULL, &error), "'%s' is read", name);
    CHECK(sampler == SCHED_PLMS, "'%s' changes the sampler", name);
    CHECK(g_error_matches(error, SCHED_ERROR, SCHED_ERROR_NAME), "'%s': other error", name);
    CHECK(error && strstr(error->message, words), "'%s' is told '%s', not '%s'", name,
          error ? error->message : "", words);
    CHECK(error && g_utf8_validate(error->message, -1, NULL), "'%s': not UTF-8", name);
}

static void test_unknown(void)
{
    expect_unknown("Eulr", "there is no sampler 'Eulr'; did you mean 'Euler'?");
    expect_unknown("eluer a", "did you mean 'Euler a'?");
    expect_unknown("DPM++ 2N", "did you mean 'DPM++ 2M'?");
    expect_unknown("DPM++ 2M Karas", "did you mean 'DPM++ 2M'?");
    expect_unknown("unicp", "did you mean 'UniPC'?");
    expect_unknown("huen", "did you mean 'Heun'?");
    expect_unknown("zzzzzzzz", "there are DPM++ 2M, ");
    expect_unknown("", "there is no sampler ''; there are DPM++ 2M, ");
    expect_unknown("Karras", "there is no sampler 'Karras'");
    expect_unknown("DPM adaptive", "'DPM++ 2M' is its successor");
    expect_unknown("dpm_fast", "'DPM++ 2M' is its successor");
    expect_unknown("\xff\xfe", "there is no sampler");
    g_autofree char *endless = g_strnfill(100000, 'x');
    expect_unknown(endless, "there is no sampler 'xxxx");
    g_autoptr(GError) error = NULL;
    CHECK(!sched_schedule_parse("Karas", NULL, &error), "'Karas' is read");
    CHECK_STR(error->message, "there is no schedule 'Karas'; did you mean 'Karras'?");
}

int main(void)
{
    test_samplers();
    test_suffixes();
    test_schedules();
    test_unknown();
    return check_result();
}
