/** The library's public face. */
export { type AppOptions, createApp } from "./app.ts";
export { type Config, ConfigError, loadConfig } from "./config.ts";
export { getAccessToken, getUpstreamAccessToken } from "./mcp/access-token-context.ts";
export { defineTool, type Tool, type ToolCall, ToolError } from "./mcp/define-tool.ts";
export type { ScopeDeclarations } from "./oauth/scope-catalogue.ts";
export { memoryRecords } from "./storage/memory.ts";
export { redisRecords } from "./storage/redis.ts";
export type { Records } from "./storage/store.ts";
export type { AccessToken } from "./tokens/access-token.ts";
export type { IdentityProvider } from "./upstream/identity-provider.ts";
export { createOidcProvider } from "./upstream/oidc.ts";
