/** Whose user somebody is: a `sub` alone says that only where there is one identity provider. */
import type { Config } from "../../config/config.ts";
import { issuersOf } from "../../oauth/tenant-issuer.ts";
import { UsageError } from "./command.ts";

type Configured = Pick<Config, "identityProviders">;

/**
 * The issuers that are meant by `--issuer`: the name of an identity provider in CONFIG_FILE, or the issuer itself, which need not
 * be configured any more.
 * @throws UsageError
 */
export function issuersNamed(named: string, { identityProviders }: Configured): readonly string[] {
  const provider = identityProviders.find(({ id }) => id === named);
  if (provider !== undefined) return issuersOf(provider);
  if (URL.canParse(named)) return [named];
  throw new UsageError(`There is no identity provider ${named}: ${known(identityProviders)}.`);
}

/** Every issuer whose users sign in. */
export function everyIssuer({ identityProviders }: Configured): readonly string[] {
  return identityProviders.flatMap(issuersOf);
}

/**
 * The one issuer of a user.
 * @throws UsageError where it has to be said
 */
export function issuerOfUser(named: string | undefined, config: Configured): string {
  const [only, ...others] = named === undefined ? everyIssuer(config) : issuersNamed(named, config);
  if (only !== undefined && others.length === 0) return only;
  const { identityProviders } = config;
  throw new UsageError(
    `Several issuers have users here, and each may have one of that name: say whose it is with --issuer (${known(identityProviders)}).`,
  );
}

function known(identityProviders: Config["identityProviders"]): string {
  return identityProviders.map((each) => `${each.id}, ${issuersOf(each).join(", ")}`).join("; ");
}
