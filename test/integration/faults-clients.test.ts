/** Clients that are slow, silent or gone. Nobody else notices, nothing of theirs is left, and the next command works. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import { startTestDaemon, TEST_LAYERS, type TestDaemon } from "../support/daemon.ts";
import { missingLayers } from "../support/layers.ts";
import { missingRoot } from "../support/requirements.ts";

const MIB = 1024 * 1024;
const NDJSON = "application/x-ndjson";

describe("a client", { skip: missingRoot() || missingLayers(...TEST_LAYERS) }, () => {
	let daemon: TestDaemon;
	let id: string;
	before(async () => {
		daemon = await startTestDaemon();
		id = await daemon.create();
	});
	after(async () => {
		await daemon?.request("DELETE", `/v1/sandboxes/${id}`);
		await daemon?.stop();
	});

	const execPath = () => `/v1/sandboxes/${id}/exec`;

	async function open(): Promise<Socket> {
		const socket = connect(Number(new URL(daemon.url).port), "127.0.0.1");
		socket.on("error", () => undefined);
		await once(socket, "connect");
		return socket;
	}

	function toRequest(argv: readonly string[], accept: string): { head: string; body: string } {
		const body = JSON.stringify({ argv });
		const lines = [
			`POST ${execPath()} HTTP/1.1`,
			"Host: localhost",
			`Accept: ${accept}`,
			"Content-Type: application/json",
			`Content-Length: ${body.length}`,
		];
		return { head: `${lines.join("\r\n")}\r\n\r\n`, body };
	}

	/** That the next command works, that no program of the client's runs, and that nothing is kept of it. */
	async function expectNothingLeft(mark: string): Promise<void> {
		assert.equal((await daemon.exec(id, ["echo", "alive"])).stdout, "alive\n");
		const deadline = Date.now() + 5000;
		for (;;) {
			const { stdout } = await daemon.exec(id, ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]);
			const { json } = await daemon.request("GET", `/v1/sandboxes/${id}/processes`);
			const left = String(stdout).includes(mark) || JSON.stringify(json).includes(mark);
			if (!left) return;
			assert.ok(Date.now() < deadline, `still there: ${stdout} ${JSON.stringify(json)}`);
			await sleep(50);
		}
	}

	async function readUntil(socket: Socket, text: string): Promise<void> {
		let read = "";
		for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
			read += String(chunk);
			if (read.includes(text)) return;
		}
		throw new Error(`the answer ended without ${text}: ${read}`);
	}

	let marks = 0;
	/** A number for sleep(1) that no other program has. */
	const nextMark = () => String(7_000_000 + marks++);

	for (const [way, accept] of [
		["captured", "application/json"],
		["streamed", NDJSON],
	] as const) {
		it(`that is gone before its request's headers are complete has asked for nothing (${way})`, async () => {
			const mark = nextMark();
			const { head } = toRequest(["sleep", mark], accept);
			(await open()).end(head.slice(0, head.length / 2));
			const socket = await open();
			socket.write(head.slice(0, head.length / 2), () => socket.destroy());
			await expectNothingLeft(mark);
		});

		it(`that is gone in the middle of its request's body has asked for nothing (${way})`, async () => {
			const mark = nextMark();
			const { head, body } = toRequest(["sleep", mark], accept);
			const socket = await open();
			socket.write(head + body.slice(0, body.length / 2));
			await sleep(20);
			socket.destroy();
			await expectNothingLeft(mark);
		});

		it(`that is gone before its program has started has it killed (${way})`, async () => {
			const mark = nextMark();
			const { head, body } = toRequest(["sleep", mark], accept);
			const sockets = await Promise.all(Array.from({ length: 20 }, open));
			// In all the moments of a start.
			await Promise.all(
				sockets.map(async (socket, n) => {
					socket.write(head + body);
					await sleep(n / 4);
					socket.destroy();
				}),
			);
			await expectNothingLeft(mark);
		});

		it(`that is gone while its program prints has it killed, with its children (${way})`, async () => {
			const mark = nextMark();
			const { head, body } = toRequest(["sh", "-c", `sleep ${mark} & while :; do echo out; done`], accept);
			const socket = await open();
			socket.write(head + body);
			if (accept === NDJSON) await readUntil(socket, "out");
			else await sleep(100);
			socket.destroy();
			await expectNothingLeft(mark);
		});

		it(`that is gone when its program exits is no trouble (${way})`, async () => {
			const sockets = await Promise.all(Array.from({ length: 20 }, open));
			const mark = nextMark();
			await Promise.all(
				sockets.map(async (socket, n) => {
					const { head, body } = toRequest(["sh", "-c", `sleep 0.1; echo ${mark}`], accept);
					socket.write(head + body);
					await sleep(95 + n);
					socket.destroy();
				}),
			);
			await expectNothingLeft(mark);
		});
	}

	describe("on a WebSocket", () => {
		async function openSession(request: Record<string, unknown> | undefined): Promise<WebSocket> {
			const session = new WebSocket(`${daemon.url.replace("http", "ws")}${execPath()}`);
			session.on("error", () => undefined);
			await once(session, "open");
			if (request) session.send(JSON.stringify(request));
			return session;
		}

		it("that is gone before its first message has asked for nothing", async () => {
			(await openSession(undefined)).terminate();
			await expectNothingLeft("no-such-mark");
		});

		it("that is gone before its program has started has it killed", async () => {
			const mark = nextMark();
			for (let n = 0; n < 10; n++) {
				const session = await openSession({ argv: ["sleep", mark] });
				await sleep(n / 2);
				session.terminate();
			}
			await expectNothingLeft(mark);
		});

		it("that is gone while it writes to a terminal has the program killed", async () => {
			const mark = nextMark();
			const terminal = { columns: 80, rows: 24 };
			const session = await openSession({ argv: ["sh", "-c", `sleep ${mark} & cat`], terminal, stdin: true });
			await once(session, "message");
			for (let n = 0; n < 20; n++) session.send(Buffer.alloc(1000, "in\n"));
			session.terminate();
			await expectNothingLeft(mark);
		});

		it("that is gone when its program exits is no trouble", async () => {
			const mark = nextMark();
			for (let n = 0; n < 10; n++) {
				const session = await openSession({ argv: ["sh", "-c", `sleep 0.05; : ${mark}`] });
				await sleep(45 + n);
				session.terminate();
			}
			await expectNothingLeft(mark);
		});

		it("that sends nonsense is told so, and harms nobody", async () => {
			for (const nonsense of ["", "{", "[]", '{"argv": 7}', Buffer.from("bytes first")]) {
				const session = await openSession(undefined);
				session.send(nonsense);
				const [code] = (await once(session, "close")) as [number];
				assert.equal(code, 1008, String(nonsense));
			}
			await expectNothingLeft("no-such-mark");
		});
	});

	it("that reads slowly gets every byte, while others are served", async () => {
		const count = 200_000;
		const expected = Array.from({ length: count }, (_, n) => `${n + 1}\n`).join("");
		const response = await fetch(daemon.url + execPath(), {
			method: "POST",
			headers: { "content-type": "application/json", accept: NDJSON },
			body: JSON.stringify({ argv: ["seq", "1", String(count)] }),
		});
		let text = "";
		let chunks = 0;
		const decoder = new TextDecoder();
		for await (const chunk of response.body ?? []) {
			text += decoder.decode(chunk, { stream: true });
			if (chunks++ % 5 === 0) {
				await sleep(20);
				assert.equal((await daemon.exec(id, ["echo", "quick"])).stdout, "quick\n");
			}
		}
		const events = text
			.trim()
			.split("\n")
			.map((line) => JSON.parse(line) as { type: string; text: string; exitCode: number });
		const output = events.filter(({ type }) => type === "stdout").map((event) => event.text);
		assert.equal(output.join("") === expected, true, "the output is whole and in order");
		assert.equal(events.at(-1)?.exitCode, 0);
	});

	it("that stops reading stops its program, costs little memory, and harms nobody", async () => {
		const mark = nextMark();
		const { head, body } = toRequest(["sh", "-c", `: ${mark}; yes`], NDJSON);
		const sockets = await Promise.all(Array.from({ length: 10 }, open));
		const before = residentBytes();
		for (const socket of sockets) {
			socket.pause();
			socket.write(head + body);
		}
		await sleep(500);
		const startedAt = performance.now();
		for (let n = 0; n < 20; n++) assert.equal((await daemon.exec(id, ["echo", "alive"])).stdout, "alive\n");
		assert.ok(performance.now() - startedAt < 10_000);
		await sleep(500);
		const { stdout } = await daemon.exec(id, ["sh", "-c", "pidof yes | wc -w"]);
		assert.equal(Number(stdout), 10, "they wait");
		const growth = residentBytes() - before;
		assert.ok(growth < 64 * MIB, `the daemon has grown by ${growth} bytes`);
		for (const socket of sockets) socket.destroy();
		await expectNothingLeft(mark);
	});

	it("that follows a background process and is gone leaves it alone", async () => {
		const argv = ["sh", "-c", "while :; do echo tick; sleep 0.01; done"];
		const { json } = await daemon.request("POST", `/v1/sandboxes/${id}/processes`, { argv });
		const path = `/v1/sandboxes/${id}/processes/${json.id}`;
		for (let n = 0; n < 5; n++) {
			const socket = await open();
			socket.write(`GET ${path}/output?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n`);
			await readUntil(socket, "tick");
			socket.destroy();
		}
		assert.equal((await daemon.request("GET", path)).json.state, "running");
		await daemon.request("POST", `${path}/signal`, { signal: "SIGKILL" });
	});
});

/** Of this process, in which the daemon runs. */
function residentBytes(): number {
	globalThis.gc?.();
	return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024;
}
