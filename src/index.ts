/** The library's public face. Its sections are those of docs/api.md, which `npm run api` makes of it. */

// Run it

export { type Config, ConfigError, loadConfig } from "./config.ts";
export { type App, type AppOptions, createApp } from "./create-app.ts";
export { type RunningServer, type ServeOptions, serve } from "./serve.ts";
export type { Environment } from "./settings.ts";

// Say what it offers

export { type Call, ToolError } from "./mcp/call.ts";
export type { Completer, Completers } from "./mcp/completion.ts";
export { definePrompt, type Prompt, type PromptDeclaration } from "./mcp/define-prompt.ts";
export {
  defineResource,
  type FixedResource,
  type Resource,
  type ResourceContent,
  type ResourceDeclaration,
  type TemplateResource,
  type VariablesOf,
} from "./mcp/define-resource.ts";
export {
  defineTool,
  type Tool,
  type ToolDeclaration,
  type ToolWithOutput,
  type ToolWithoutOutput,
} from "./mcp/define-tool.ts";
export { type ExistingServer, featuresOf, type NeededScopes } from "./mcp/existing-server.ts";
export type { Features } from "./mcp/features.ts";
export {
  acceptedContent,
  createMessage,
  elicit,
  elicitUrl,
  InputRequired,
  type InputResponse,
  inputRequired,
  inputResponse,
  listRoots,
  type Returned,
} from "./mcp/input-required.ts";
export type { ScopeDeclaration, ScopeDeclarations } from "./oauth/scope-catalogue.ts";
export { type AnyOf, anyOf, type RequiredScopes, type ScopeRequirement } from "./oauth/scope-requirement.ts";

// Ask who is calling

export { getAccessToken, getUpstreamAccessToken, requireScopes } from "./mcp/access-token-context.ts";
export type { AccessToken } from "./tokens/access-token.ts";

// Write down what happens

export type { AuditEvent, AuditStream } from "./audit.ts";
export { requestFields } from "./http/current-request.ts";
