/** The settings of a tool's own, read where the tool is made: a mistake in them is reported when the server starts. */
import type { z } from "zod";

/**
 * Reads what `schema` names from the environment, which `.env` has completed by then. An empty value counts as not set.
 * @throws Error that names every setting to fix; their values are not in it
 */
export function toolSettings<Schema extends z.ZodObject>(
  schema: Schema,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): z.output<Schema> {
  const names = Object.keys(schema.shape);
  const values = names.map((name) => [name, environment[name]?.trim() || undefined] as const);
  const read = schema.safeParse(Object.fromEntries(values));
  if (read.success) return read.data;
  const problems = read.error.issues.map(({ path: [name], message }) => {
    const isMissing = values.some(([each, value]) => each === name && value === undefined);
    return `${String(name)} ${isMissing ? "is missing" : `is wrong: ${message}`}`;
  });
  throw new Error(problems.join("\n"));
}
