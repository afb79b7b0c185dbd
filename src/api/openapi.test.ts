import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { ERRORS } from "../lib/errors.ts";
import { toHonoPath } from "./create-api.ts";
import { toOpenApi } from "./openapi.ts";
import { ROUTES } from "./routes/index.ts";
import { createFakeApi } from "./testing/fake-daemon.ts";

const document = toOpenApi(ROUTES, { version: "0.1.0" });

function operations() {
	return Object.entries(document.paths).flatMap(([path, item]) =>
		Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
	);
}

/** Every object in the document. */
function* walk(value: unknown): Generator<Record<string, unknown>> {
	if (typeof value !== "object" || value === null) return;
	if (!Array.isArray(value)) yield value as Record<string, unknown>;
	for (const part of Object.values(value)) yield* walk(part);
}

test("the document has every registered route, and nothing else", () => {
	const registered = createFakeApi().api.app.routes.map(({ method, path }) => `${method} ${path}`);
	const documented = operations().map(({ method, path }) => `${method.toUpperCase()} ${toHonoPath(path)}`);
	assert.deepEqual(documented.toSorted(), registered.toSorted());
	assert.equal(new Set(registered).size, registered.length);
});

test("operation ids are unique, and each operation has a summary and a known tag", () => {
	const ids = operations().map(({ operation }) => operation.operationId);
	assert.equal(new Set(ids).size, ids.length);
	const tags = new Set((document.tags as { name: string }[]).map(({ name }) => name));
	for (const { operation } of operations()) {
		assert.ok(operation.summary);
		for (const tag of operation.tags as string[]) assert.ok(tags.has(tag));
	}
});

test("every reference leads to something in the document", () => {
	let references = 0;
	for (const { $ref } of walk(document)) {
		if ($ref === undefined) continue;
		references++;
		assert.equal(typeof $ref, "string");
		const [root, ...steps] = ($ref as string).split("/");
		assert.equal(root, "#");
		const target = steps.reduce<unknown>((at, step) => (at as Record<string, unknown>)?.[step], document);
		assert.ok(target, `${$ref} leads nowhere`);
	}
	assert.ok(references > 20);
});

test("path parameters are those of the path, and each parameter has a schema", () => {
	for (const { path, operation } of operations()) {
		const parameters = (operation.parameters ?? []) as {
			name: string;
			in: string;
			required?: boolean;
			schema: unknown;
		}[];
		const inPath = parameters.filter((parameter) => parameter.in === "path");
		assert.deepEqual(
			inPath.map(({ name }) => name),
			[...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
		);
		assert.ok(inPath.every(({ required }) => required === true));
		assert.ok(parameters.every(({ schema }) => typeof schema === "object"));
	}
});

test("every operation says how it succeeds and how it fails", () => {
	for (const { operation } of operations()) {
		const responses = operation.responses as Record<string, { description?: string; $ref?: string }>;
		assert.ok(Object.keys(responses).some((status) => /^2\d\d$/.test(status)));
		assert.equal(responses.default?.$ref, "#/components/responses/Error");
		for (const response of Object.values(responses)) assert.ok(response.$ref ?? response.description);
	}
});

test("requests forbid unknown fields, answers may grow", () => {
	const { schemas } = document.components;
	for (const name of ["CreateSandbox", "ExecRequest", "StartProcess", "SignalRequest", "BuildLayer"]) {
		assert.equal(schemas[name]?.additionalProperties, false, name);
	}
	for (const name of ["Sandbox", "ExecResult", "ProcessInfo", "Error"]) {
		assert.notEqual(schemas[name]?.additionalProperties, false, name);
	}
});

test("whole numbers in queries are documented as such", () => {
	const list = document.paths["/v1/sandboxes"]?.get;
	const parameters = list?.parameters as { name: string; schema: object }[] | undefined;
	const limit = parameters?.find(({ name }) => name === "limit");
	assert.deepEqual(limit?.schema, { type: "integer", minimum: 1, maximum: 1000 });
});

test("open routes need no token, all others say that they may", () => {
	for (const { path, operation } of operations()) {
		const open = ["/healthz", "/openapi.json", "/docs", "/docs/{file}"].includes(path);
		assert.deepEqual(operation.security, open ? [] : [{}, { token: [] }], path);
	}
});

test("docs/api.md has every route and every error", async () => {
	const page = await readFile(new URL("../../docs/api.md", import.meta.url), "utf8");
	const inPage = [...page.matchAll(/^\| `([A-Z]+ \/\S*)`/gm)].map(([, route]) => route);
	assert.deepEqual(
		inPage.toSorted(),
		operations()
			.map(({ method, path }) => `${method.toUpperCase()} ${path}`)
			.toSorted(),
	);
	for (const [code, { status, retryable, meaning }] of Object.entries(ERRORS)) {
		const row = new RegExp(
			`^\\| \`${code}\` +\\| ${status} +\\| ${retryable ? "yes" : "no"} +\\| ${meaning} +\\|$`,
			"m",
		);
		assert.match(page, row);
	}
});
