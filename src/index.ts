/** The library's public face. */
export { type AppOptions, createApp } from "./app.ts";
export type { AuditEvent, AuditStream } from "./audit.ts";
export { type Config, ConfigError, loadConfig } from "./config.ts";
export { getAccessToken, getUpstreamAccessToken, requireScopes } from "./mcp/access-token-context.ts";
export { definePrompt, type Prompt } from "./mcp/define-prompt.ts";
export { defineResource, type Resource } from "./mcp/define-resource.ts";
export { type Call, defineTool, type Tool, ToolError } from "./mcp/define-tool.ts";
export { knownNames } from "./mcp/features.ts";
export type { ScopeDeclaration, ScopeDeclarations } from "./oauth/scope-catalogue.ts";
export { scopeCatalogue } from "./oauth/scope-catalogue.ts";
export { anyOf } from "./oauth/scope-requirement.ts";
export { watchPolicy } from "./policy/live-policy.ts";
export { memoryRecords } from "./storage/memory.ts";
export { redisRecords } from "./storage/redis.ts";
export type { Records } from "./storage/store.ts";
export type { AccessToken } from "./tokens/access-token.ts";
export type { IdentityProvider } from "./upstream/identity-provider.ts";
export { createOidcProvider } from "./upstream/oidc.ts";
