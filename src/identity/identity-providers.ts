/** The identity providers of this server, by name. What was begun with one of them is finished with that one. */
import { decodeJwt } from "jose";
import { issuersOf } from "../oauth/tenant-issuer.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { IdentityProvider } from "./identity-provider.ts";
import { createOidcProvider } from "./oidc/oidc.ts";
import { callbackUrl } from "./oidc/registered-urls.ts";
import { profileOf } from "./profiles/profiles.ts";
import type { ProviderProfile } from "./profiles/provider-profile.ts";
import type { IdentityProviderSettings } from "./settings.ts";

/** One of them, with what is known of it without asking. */
export interface ConfiguredProvider extends IdentityProvider {
  readonly settings: IdentityProviderSettings;
  readonly profile: ProviderProfile;
  /** The redirect URI at which it is answered. */
  readonly callbackUrl: string;
  /** What people are told that they sign in at. */
  readonly shownAs: string;
}

export interface IdentityProviders {
  /**
   * The provider that a record or a URL names. {@link DEFAULT_PROVIDER}, and a record without a name (version 0.1.0 wrote none),
   * mean the first of the list, however it is called there.
   */
  get(id: string | undefined): ConfiguredProvider | undefined;
  /** The provider of whose users an issuer tells, as it is configured. */
  ofIssuer(issuer: string): ConfiguredProvider | undefined;
  /** The provider that a token names as its issuer, to verify it; the default, which will refuse it, if it names none of them. */
  ofToken(token: string): ConfiguredProvider;
  /** The first is the default. */
  all(): AtLeastOne<ConfiguredProvider>;
}

export type AtLeastOne<T> = readonly [T, ...T[]];

export const DEFAULT_PROVIDER = "default";

export function createIdentityProviders(all: AtLeastOne<ConfiguredProvider>): IdentityProviders {
  const [first] = all;
  const byId = new Map(all.map((provider) => [provider.settings.id, provider]));
  byId.set(DEFAULT_PROVIDER, first);
  const byIssuer = new Map(
    all.flatMap((provider) => issuersOf(provider.settings).map((issuer) => [asUrl(issuer), provider])),
  );
  return {
    get: (id = DEFAULT_PROVIDER) => byId.get(id),
    ofIssuer: (issuer) => byIssuer.get(asUrl(issuer)),
    ofToken: (token) => byIssuer.get(asUrl(issuerOf(token) ?? "")) ?? first,
    all: () => all,
  };
}

/** As they are configured. Nothing is fetched before the first use. */
export function openIdentityProviders(
  settings: AtLeastOne<IdentityProviderSettings>,
  baseUrl: string,
  runtime: Runtime,
): AtLeastOne<ConfiguredProvider> {
  const [first, ...others] = settings;
  const open = (each: IdentityProviderSettings): ConfiguredProvider => ({
    ...createOidcProvider(each, runtime),
    settings: each,
    profile: profileOf(each),
    callbackUrl: callbackUrl(baseUrl, each === first ? undefined : each.id),
    shownAs: shownAs(each),
  });
  return [open(first), ...others.map(open)];
}

/** The same ones, each as `decorate` makes it. */
export function decorated(
  [first, ...others]: AtLeastOne<ConfiguredProvider>,
  decorate: (provider: ConfiguredProvider) => IdentityProvider,
): AtLeastOne<ConfiguredProvider> {
  const each = (provider: ConfiguredProvider) => ({ ...provider, ...decorate(provider) });
  return [each(first), ...others.map(each)];
}

/** Some leave out the slash behind a bare host that they write in their tokens. */
function asUrl(issuer: string): string {
  return URL.canParse(issuer) ? new URL(issuer).href : issuer;
}

function issuerOf(token: string): string | undefined {
  try {
    return decodeJwt(token).iss;
  } catch {
    return undefined;
  }
}

/** With its host, by which people recognize where their password belongs. */
export function shownAs({ issuer, label }: Pick<IdentityProviderSettings, "issuer" | "label">): string {
  if (!URL.canParse(issuer)) return label ?? issuer;
  const { host } = new URL(issuer);
  return label === undefined ? host : `${label} (${host})`;
}
