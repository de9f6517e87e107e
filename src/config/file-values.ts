/** Kinds of values in CONFIG_FILE, each with what is said of a wrong one. */
import { z } from "zod";

type Problem = [problem: string, remedy: string];

/** A text of which something can be wrong. */
export function textThat(problemWith: (value: string) => Problem | undefined) {
  return z
    .string()
    .min(1)
    .superRefine((value, context) => {
      const found = problemWith(value);
      if (found === undefined) return;
      const [problem, message] = found;
      context.addIssue({ code: "custom", message, params: { problem } });
    });
}

export function wholeNumber(from: number, to: number, example: string) {
  return z.number().refine((value) => Number.isInteger(value) && value >= from && value <= to, {
    error: `write digits alone, such as ${example}`,
    params: { problem: `must be a whole number from ${from} to ${to}` },
  });
}

/** Seconds to wait for an answer. */
export const timeoutSeconds = wholeNumber(1, 60, "10").default(10);

/** A name for people: of an identity provider or of a resource. */
export const label = z
  .string()
  .min(1)
  .refine((name) => name.length <= 64 && /^[^\p{Cc}\p{Zl}\p{Zp}]+$/u.test(name), {
    error: "shorten it to 64 characters on one line",
    params: { problem: "is no name for people" },
  });
