/** What a person may mean while they type an argument of a prompt, or a variable of a resource's template. */
import type { CompleteResult } from "@modelcontextprotocol/server";

/**
 * Values that begin with, or are meant by, what was typed so far.
 * @param others the arguments that were filled in before
 */
export type Completer = (
  typed: string,
  others: Readonly<Record<string, string>>,
) => readonly string[] | Promise<readonly string[]>;

/** By the name of the argument. */
export type Completers<Name extends string = string> = { readonly [name in Name]?: Completer };

// MCP, Completion: an answer has at most so many.
const MAX_VALUES = 100;

/** Nothing for what nobody completes. */
export async function complete(
  completers: Completers | undefined,
  { name, value }: { name: string; value: string },
  others: Readonly<Record<string, string>> = {},
): Promise<CompleteResult> {
  const completer = completers && Object.hasOwn(completers, name) ? completers[name] : undefined;
  const values = (await completer?.(value, others)) ?? [];
  return {
    completion: {
      values: values.slice(0, MAX_VALUES),
      total: values.length,
      hasMore: values.length > MAX_VALUES,
    },
  };
}
