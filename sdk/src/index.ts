/** Client of the Shale daemon for Node, Deno and Bun, without dependencies. */
export { Shale, type ShaleOptions } from "./client.ts";
export { type BackgroundOptions, type CommandOptions, Commands, type StreamOptions } from "./commands.ts";
export {
	CommandFailedError,
	ERRORS,
	type ErrorBody,
	type ErrorCode,
	ShaleApiError,
	ShaleConnectionError,
	systemErrorCode,
} from "./errors.ts";
export type * from "./file-types.ts";
export { type FileData, type FileOptions, Files, type WriteOptions } from "./files.ts";
export { fetchHttp, type Http, type HttpAnswer, type HttpRequest } from "./http.ts";
export { type BuildOptions, Layers } from "./layers.ts";
export type * from "./operation-types.ts";
export { DEFAULT_RECONNECT_MS, type ReconnectOptions } from "./patience.ts";
export { type AttachOptions, Processes, type ReadOutput, type StartOptions } from "./processes.ts";
export { type CallOptions, Sandbox, Sandboxes } from "./sandbox.ts";
export { CommandSession, type SessionOptions, type SessionReconnectOptions } from "./session.ts";
export {
	DEFAULT_URL,
	type WebSocketConstructor,
	type WebSocketLike,
	type WebSocketOptions,
} from "./transport.ts";
export type * from "./types.ts";
