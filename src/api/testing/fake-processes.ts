/** The part of a fake core that runs processes. They outlive the API that started them. */
import { ShaleError } from "../../lib/errors.ts";
import type {
	AttachProcess,
	OutputChunk,
	ProcessInfo,
	Sandbox,
	StartProcess,
	TerminalSize,
} from "../../sandbox/types.ts";
import { FakeProcess, FakeReader, PROGRAMS } from "./fake-process.ts";

export abstract class FakeProcesses {
	readonly processes: FakeProcess[] = [];

	abstract get(id: string): Sandbox;

	get last(): FakeProcess {
		const process = this.processes.at(-1);
		if (!process) throw new Error("no process was started");
		return process;
	}

	async start(id: string, request: StartProcess): Promise<FakeReader> {
		const process = this.#start(id, request);
		const from = { stdoutOffset: process.start("stdout"), stderrOffset: process.start("stderr") };
		return new FakeReader(process, from, { hold: true });
	}

	async startDetached(id: string, request: StartProcess): Promise<ProcessInfo> {
		return toInfo(this.#start(id, request));
	}

	async attach(_id: string, processId: string, options: AttachProcess): Promise<FakeReader> {
		const process = this.#find(processId);
		const offset = (stream: OutputChunk["stream"], wanted: number | undefined): number => {
			if (options.tailBytes !== undefined) {
				return Math.max(process.start(stream), process.ends[stream] - options.tailBytes);
			}
			if (wanted === undefined || wanted >= process.start(stream)) return wanted ?? process.start(stream);
			throw new ShaleError("gone", `${stream} before ${process.start(stream)} is no longer kept`, {
				details: { [`${stream}Start`]: process.start(stream) },
			});
		};
		const from = {
			stdoutOffset: offset("stdout", options.stdoutOffset),
			stderrOffset: offset("stderr", options.stderrOffset),
		};
		return new FakeReader(process, from, { hold: options.hold ?? false });
	}

	async writeStdin(_id: string, processId: string, chunk: Uint8Array): Promise<void> {
		await this.#find(processId).writeStdin(chunk);
	}

	async closeStdin(_id: string, processId: string): Promise<void> {
		this.#find(processId).closeStdin();
	}

	async listProcesses(): Promise<readonly ProcessInfo[]> {
		return this.processes.filter(({ removed }) => !removed).map(toInfo);
	}

	async getProcess(_id: string, processId: string): Promise<ProcessInfo> {
		return toInfo(this.#find(processId));
	}

	async signalProcess(
		_id: string,
		processId: string,
		{ signal, group }: { readonly signal: string; readonly group: boolean },
	): Promise<void> {
		this.#find(processId).signal(group ? signal : `${signal} alone`);
	}

	async resizeTerminal(_id: string, processId: string, size: TerminalSize): Promise<void> {
		this.#find(processId).sizes.push(`${size.columns}x${size.rows}`);
	}

	async removeProcess(_id: string, processId: string): Promise<void> {
		this.#find(processId).removed = true;
	}

	/** As a daemon that is killed: its processes are no longer read, and live. */
	loseReaders(): void {
		for (const process of this.processes) process.loseReaders();
	}

	#start(id: string, request: StartProcess): FakeProcess {
		this.get(id);
		const known = this.processes.find((process) => process.id === request.id && !process.removed);
		if (known) {
			if (JSON.stringify(known.request) === JSON.stringify(request)) return known;
			throw new ShaleError("conflict", `process ${request.id} was started with another request`);
		}
		const program = PROGRAMS[request.argv[0] ?? ""];
		if (!program) throw new ShaleError("unsupported", "the fake has no such program");
		const process = new FakeProcess(request.id ?? `p-${this.processes.length}`, request, program);
		this.processes.push(process);
		return process;
	}

	#find(processId: string): FakeProcess {
		const process = this.processes.find(({ id, removed }) => id === processId && !removed);
		if (!process) throw new ShaleError("not_found", `no process is called ${processId}`);
		return process;
	}
}

function toInfo(process: FakeProcess): ProcessInfo {
	const { id, guestPid, request, exit, ends } = process;
	return {
		id,
		guestPid,
		argv: request.argv,
		state: exit ? "exited" : "running",
		terminal: request.terminal !== undefined,
		stdinEnd: request.stdin === true ? process.stdinEnd : null,
		startedAt: "2026-11-01T00:00:00.000Z",
		endedAt: exit ? "2026-11-01T00:00:01.000Z" : null,
		exitCode: exit?.exitCode ?? null,
		signal: exit?.signal ?? null,
		timedOut: false,
		stdoutStart: process.start("stdout"),
		stdoutEnd: ends.stdout,
		stderrStart: process.start("stderr"),
		stderrEnd: ends.stderr,
	};
}
