/** Thousands of strange JWTs at every door that takes one. FUZZ_RUNS scales it. */
import { fuzzJwts } from "./jwt-fuzz.ts";

fuzzJwts(Math.ceil(3_000 * Number(process.env.FUZZ_RUNS ?? 1)));
