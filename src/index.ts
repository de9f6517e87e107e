/** The public interface of the library. Its sections are those of docs/api.md, which `npm run api` generates from it. */

// Run the server

export { type Config, ConfigError, loadConfig } from "./config/config.ts";
export type { Environment } from "./config/settings.ts";
export type { SettingProblem } from "./runtime/setting-problem.ts";
export { type App, type AppOptions, createApp } from "./server/create-app.ts";
export { type RunningServer, type ServeOptions, serve } from "./server/serve.ts";

// Declare tools, resources and prompts

export type { Completer, Completers } from "./mcp/authoring/completion.ts";
export { definePrompt, type Prompt, type PromptDeclaration } from "./mcp/authoring/define-prompt.ts";
export {
  defineResource,
  type FixedResource,
  type Resource,
  type ResourceContent,
  type ResourceDeclaration,
  type TemplateResource,
  type VariablesOf,
} from "./mcp/authoring/define-resource.ts";
export {
  defineTool,
  type Tool,
  type ToolDeclaration,
  type ToolWithOutput,
  type ToolWithoutOutput,
} from "./mcp/authoring/define-tool.ts";
export type { Features } from "./mcp/authoring/features.ts";
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
} from "./mcp/authoring/input-required.ts";
export { type Call, type RequestContext, ToolError } from "./mcp/authoring/request-context.ts";
export { toolSettings } from "./mcp/authoring/tool-settings.ts";
export { type ExistingServer, featuresOf, type NeededScopes } from "./mcp/backends/existing-server.ts";
export type {
  AuthenticationRequirement,
  RequiredAuthentication,
  UserAuthentication,
} from "./oauth/required-authentication.ts";
export type { ScopeDeclaration, ScopeDeclarations } from "./oauth/scope-catalogue.ts";
export { type AnyOf, anyOf, type RequiredScopes, type ScopeRequirement } from "./oauth/scope-requirement.ts";

// The caller

export type { OtherApi } from "./oauth/other-api.ts";
export type { AccessToken } from "./resource/access-token-context.ts";
export {
  getAccessToken,
  getAccessTokenFor,
  getUpstreamAccessToken,
  requireAuthentication,
  requireScopes,
} from "./resource/access-token-context.ts";

// Audit and log

export type { AuditEvent, AuditStream } from "./audit/audit.ts";
export type { ReasonCode } from "./oauth/reason-codes.ts";
export { requestFields } from "./runtime/current-request.ts";
