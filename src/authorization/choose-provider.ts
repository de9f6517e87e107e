/** The step of a sign-in at which the identity provider is chosen: by itself, or by the person on a page of its own. */
import type { Request } from "express";
import type { ConfiguredProvider, IdentityProviders } from "../identity/identity-providers.ts";
import {
  ASK,
  BY_ADDRESS,
  CHOSEN,
  chooseProvider,
  HINT,
  isAnswering,
  ofEmail,
  type RememberedProvider,
  wishOf,
} from "../login/provider-choice.ts";
import { type AuthorizationRequest, authorizationRequestUrl } from "../login/transaction.ts";
import { providerChoicePage } from "../pages/choose-provider.ts";
import type { Html } from "../pages/shell.ts";
import {
  type ProtectedResource,
  type ProtectedResources,
  resourceOf,
} from "../resource/protected-resource.ts";
import { isOwnNavigation } from "./consent-decision.ts";

interface Dependencies {
  baseUrl: string;
  identityProviders: IdentityProviders;
  remembered: RememberedProvider;
  resources: ProtectedResources<Pick<ProtectedResource, "uri" | "identityProvider">>;
}

export interface ProviderStep {
  /** Undefined where the person has to be asked. */
  choose(parameters: unknown, request: AuthorizationRequest, req: Request): ConfiguredProvider | undefined;
  /** @param serverName as the consent page has it */
  page(
    parameters: unknown,
    req: Request,
    asked: { clientName?: string | undefined; serverName: string },
  ): Promise<Html>;
  /** Where the same sign-in begins anew with a choice; undefined where there is none. */
  elsewhere(request: AuthorizationRequest): string | undefined;
  /** Where the same sign-in begins anew with the same provider, whatever the browser remembers. */
  again(request: AuthorizationRequest, provider: string | undefined): string;
}

export function providerStep({
  baseUrl,
  identityProviders,
  remembered,
  resources,
}: Dependencies): ProviderStep {
  const all = identityProviders.all();
  const providerOf = (resource: string) => resourceOf(resource, resources).identityProvider;
  const action = `${baseUrl}/authorize`;
  const haveDomains = all.some(({ settings }) => settings.emailDomains !== undefined);
  return {
    choose: (parameters, { resource }, req) =>
      chooseProvider(identityProviders, {
        ofResource: providerOf(resource),
        ...wishOf(parameters, remembered.read(req)),
      }),
    async page(parameters, req, asked) {
      const { loginHint } = wishOf(parameters, undefined);
      const before = remembered.read(req);
      const sent = withoutChoice(parameters, req);
      const providers = await Promise.all(
        all.map(async (provider) => {
          const { id } = provider.settings;
          return {
            href: `${action}?${new URLSearchParams([...sent, [CHOSEN, id]])}`,
            shownAs: provider.shownAs,
            isAnswering: await isAnswering(provider),
            isRemembered: id === before,
          };
        }),
      );
      const unknown = loginHint !== undefined && ofEmail(all, loginHint).length === 0 ? loginHint : undefined;
      return await providerChoicePage({
        clientName: asked.clientName,
        serverName: asked.serverName,
        providers,
        byEmail: haveDomains
          ? { action, name: HINT, fields: [...sent, [CHOSEN, BY_ADDRESS]], unknown }
          : undefined,
      });
    },
    elsewhere: (request) =>
      all.length > 1 && providerOf(request.resource) === undefined
        ? authorizationRequestUrl(baseUrl, request, { prompt: `consent ${ASK}` })
        : undefined,
    again: (request, provider) =>
      authorizationRequestUrl(
        baseUrl,
        request,
        provider === undefined || all.length === 1 ? {} : { [CHOSEN]: provider },
      ),
  };
}

/**
 * The parameters of the request, for the request that follows the choice. That one comes from our own page, so a request that
 * another site caused has to say now that it must not go on without asking.
 */
function withoutChoice(parameters: unknown, req: Request): Array<[name: string, value: string]> {
  const entries = Object.entries((parameters ?? {}) as Readonly<Record<string, string | string[]>>);
  const others = entries.filter(([name]) => ![CHOSEN, HINT, "prompt"].includes(name));
  const prompt = new Set(
    entries.flatMap(([name, value]) => (name === "prompt" ? String(value).split(" ") : [])),
  );
  prompt.delete(ASK);
  if (!isOwnNavigation(req.get("sec-fetch-site"))) prompt.add("consent");
  const kept = [...prompt].filter((each) => each !== "").join(" ");
  return [
    ...others.flatMap(([name, value]) => [value].flat().map((each): [string, string] => [name, each])),
    ...(kept === "" ? [] : [["prompt", kept] as [string, string]]),
  ];
}
