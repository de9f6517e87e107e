/** How resources are written: something to read at a URI, or at every URI of a template, with the scopes it needs. */
import {
  type Resource as ListedResource,
  type ResourceTemplateType as ListedTemplate,
  type ReadResourceResult,
  UriTemplate,
} from "@modelcontextprotocol/server";
import {
  type AuthenticationRequirement,
  declaredAuthentication,
  type RequiredAuthentication,
} from "../../oauth/required-authentication.ts";
import { type RequiredScopes, requiredScopes, type ScopeRequirement } from "../../oauth/scope-requirement.ts";
import type { Completers } from "./completion.ts";
import type { InputRequired, Returned } from "./input-required.ts";
import type { RequestContext } from "./request-context.ts";

/** What every resource says of itself. */
export interface ResourceDeclaration {
  /** Its name for programs; should be unique. */
  name: string;
  title?: string;
  description: string;
  /** The type of the text that is returned. Default: `text/plain`. */
  mimeType?: string;
  /** As for tools: without them the resource is not listed and reading it is answered with HTTP 403. */
  scopes?: ScopeRequirement;
  /** As for tools. */
  authentication?: AuthenticationRequirement;
}

/** What to return: text, or a complete MCP result. */
export type ResourceContent = string | ReadResourceResult;

/** A resource at one URI. */
export interface FixedResource extends ResourceDeclaration {
  /** Such as `weather://conditions`. */
  uri: string;
  read(call: RequestContext): Returned<ResourceContent>;
}

/** A resource at every URI of a template. */
export interface TemplateResource<Template extends string> extends ResourceDeclaration {
  /** RFC 6570, such as `orders://order/{id}`. */
  uriTemplate: Template;
  read(variables: VariablesOf<Template>, call: RequestContext & { uri: string }): Returned<ResourceContent>;
  /** Suggests values for variables while a person types. */
  complete?: Completers<keyof VariablesOf<Template> & string>;
}

/** The variables of a template: `{ id: string }` for `orders://order/{id}`. */
export type VariablesOf<Template extends string> = Template extends `${string}{${infer Name}}${infer Rest}`
  ? { readonly [Key in Name]: string } & VariablesOf<Rest>
  : unknown;

/** A declared resource. */
export interface Resource {
  readonly kind: "resource";
  /** The URI, or the template: what identifies it in policies and in the audit log. */
  readonly name: string;
  readonly scopes: RequiredScopes;
  readonly authentication?: RequiredAuthentication;
  /** What `resources/list` or `resources/templates/list` shows. */
  readonly listing: { fixed: ListedResource } | { template: ListedTemplate };
  /** How to read `uri`, if it is one of this resource. */
  reader(uri: string): ((call: RequestContext) => Promise<ReadResourceResult | InputRequired>) | undefined;
  readonly completers?: Completers;
}

/**
 * Declares a resource.
 * @throws Error for an illegal URI, template or scope: at start-up, not when somebody reads it.
 */
export function defineResource(resource: FixedResource): Resource;
export function defineResource<Template extends string>(resource: TemplateResource<Template>): Resource;
export function defineResource(resource: FixedResource | TemplateResource<string>): Resource {
  const { name, title, description, mimeType = "text/plain" } = resource;
  const identity = "uri" in resource ? resource.uri : resource.uriTemplate;
  const shown = { name, description, mimeType, ...(title !== undefined && { title }) };
  const owner = `Resource "${identity}"`;
  const needs = {
    scopes: requiredScopes(resource.scopes ?? [], owner),
    ...declaredAuthentication(resource, owner),
  };
  const asResult = (uri: string, content: ResourceContent | InputRequired) =>
    typeof content === "string" ? { contents: [{ uri, mimeType, text: content }] } : content;

  if ("uri" in resource) {
    if (!URL.canParse(resource.uri)) throw new Error(`Resource "${identity}": its uri is not a URI.`);
    return {
      kind: "resource",
      name: identity,
      ...needs,
      listing: { fixed: { ...shown, uri: identity } },
      reader: (uri) =>
        uri === identity ? async (call) => asResult(uri, await resource.read(call)) : undefined,
    };
  }
  const template = parseTemplate(identity);
  return {
    kind: "resource",
    name: identity,
    ...needs,
    listing: { template: { ...shown, uriTemplate: identity } },
    ...(resource.complete && { completers: resource.complete }),
    reader(uri) {
      const variables = matchTemplate(template, uri);
      return variables && (async (call) => asResult(uri, await resource.read(variables, at(uri, call))));
    },
  };
}

/** Not a copy: of a call some things are only found out when they are asked for. */
function at(uri: string, call: RequestContext): RequestContext & { uri: string } {
  return Object.assign(Object.create(call) as RequestContext, { uri });
}

function parseTemplate(text: string): UriTemplate {
  try {
    const template = new UriTemplate(text);
    if (template.variableNames.length > 0) return template;
  } catch (cause) {
    throw new Error(`Resource "${text}": its uriTemplate is not one (RFC 6570).`, { cause });
  }
  throw new Error(`Resource "${text}": its uriTemplate has no {variable}: give it as uri.`);
}

// The SDK's matching takes time with the square of the length.
const MAX_URI_LENGTH = 2_048;

/**
 * The variables, percent-decoded; undefined for a URI that is not of this template, or is written in another way than
 * the template would write it: what a fixed URI protects must not be read under another spelling of it.
 */
function matchTemplate(template: UriTemplate, uri: string): Record<string, string> | undefined {
  if (uri.length > MAX_URI_LENGTH) return undefined;
  try {
    const found = template.match(uri);
    if (found === null) return undefined;
    const variables = Object.fromEntries(
      Object.entries(found).map(([name, value]) => [name, decodeURIComponent(String(value))]),
    );
    const isCanonical =
      template.expand(variables) === uri.replace(/%[0-9a-f]{2}/gi, (hex) => hex.toUpperCase());
    return isCanonical ? variables : undefined;
  } catch {
    return undefined; // longer than the SDK reads, or not percent-encoded
  }
}
