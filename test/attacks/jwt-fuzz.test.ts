/** A first look at strange JWTs; `jwt-fuzz.long.ts` takes a longer one. */
import { fuzzJwts } from "./jwt-fuzz.ts";

fuzzJwts(Math.ceil(60 * Number(process.env.FUZZ_RUNS ?? 1)));
