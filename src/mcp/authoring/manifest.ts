/** What this server offers, as a document that can be committed, published and compared. */
import type { RequiredAuthentication } from "../../oauth/required-authentication.ts";
import { describeRequirement } from "../../oauth/scope-requirement.ts";
import { sha256 } from "../../oauth/sha256.ts";
import type { Features } from "./features.ts";

export type Manifest = { [key: string]: string | boolean | Manifest };

/** Everything by its name, in alphabetical order, so that the order of declarations makes no difference. */
export function manifestOf({ tools, resources = [], prompts = [], scopes }: Features): Manifest {
  return {
    scopes: sorted(
      Object.entries(scopes).map(([name, scope]) => [
        name,
        typeof scope === "string" ? { description: scope } : plain(scope),
      ]),
    ),
    tools: sorted(
      tools.map(
        ({
          name,
          scopes: needs,
          authentication,
          listing: { title, description, annotations, ...listing },
        }) => [
          name,
          plain({
            title,
            description,
            scopes: describeRequirement(needs) || undefined,
            authentication: told(authentication),
            annotations,
            inputSchema: hash(listing.inputSchema),
            outputSchema: listing.outputSchema && hash(listing.outputSchema),
          }),
        ],
      ),
    ),
    resources: sorted(
      resources.map(({ name, scopes: needs, authentication, listing }) => {
        const { title, description, mimeType } = "fixed" in listing ? listing.fixed : listing.template;
        return [
          name,
          plain({
            title,
            description,
            mimeType,
            scopes: describeRequirement(needs) || undefined,
            authentication: told(authentication),
          }),
        ];
      }),
    ),
    prompts: sorted(
      prompts.map(
        ({ name, scopes: needs, authentication, listing: { title, description, arguments: args } }) => [
          name,
          plain({
            title,
            description,
            arguments: hash(args),
            scopes: describeRequirement(needs) || undefined,
            authentication: told(authentication),
          }),
        ],
      ),
    ),
  };
}

/** A requirement of `requireAuthentication()` depends on arguments, as one of `requireScopes()` does: neither is here. */
function told(required: RequiredAuthentication | undefined): Manifest | undefined {
  if (required === undefined) return undefined;
  const { maxAge, acrValues } = required;
  return plain({
    maxAgeSeconds: maxAge === undefined ? undefined : String(maxAge),
    acr: acrValues?.join(" or "),
  });
}

/** One line a difference, for people; none if they are the same. */
export function differences(committed: Manifest, actual: Manifest, path = ""): string[] {
  const names = [...new Set([...Object.keys(committed), ...Object.keys(actual)])];
  return names.flatMap((name) => {
    const [before, after] = [own(committed, name), own(actual, name)];
    const where = path === "" ? name : `${path} → ${name}`;
    if (after === undefined) return [`- ${where} is in the manifest and not in the server`];
    if (before === undefined) return [`+ ${where} is in the server and not in the manifest`];
    if (typeof before === "object" && typeof after === "object") return differences(before, after, where);
    return before === after ? [] : [`~ ${where}: ${JSON.stringify(before)} is now ${JSON.stringify(after)}`];
  });
}

function own(manifest: Manifest, name: string): Manifest[string] | undefined {
  return Object.hasOwn(manifest, name) ? manifest[name] : undefined;
}

function sorted(entries: Array<[string, Manifest[string]]>): Manifest {
  return Object.fromEntries(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** Without what is not there; lists as text. */
function plain(value: object): Manifest {
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, each]) => each !== undefined)
      .map(([name, each]) => [
        name,
        Array.isArray(each) ? each.join(" ") : typeof each === "object" ? plain(each) : each,
      ]),
  );
}

function hash(schema: unknown): string {
  return `sha256 ${sha256(JSON.stringify(schema))}`;
}
