/** Our own stdin and stdout as the end of a copy: the bytes of one file. */
import { ShaleError } from "../../lib/errors.ts";
import { writeOutput } from "../output.ts";
import type { Bytes, CopySource, CopyTarget, FileNode, Node } from "./ends.ts";

const PIPE: FileNode = { type: "file", sizeBytes: undefined, mode: undefined, modifiedAt: undefined };

export class PipeEnd implements CopySource, CopyTarget {
	readonly path = "-";
	readonly name = "";

	async get(): Promise<Node> {
		return PIPE;
	}

	async find(): Promise<Node> {
		return PIPE;
	}

	async readFile(): Promise<Bytes> {
		return process.stdin;
	}

	async writeFile(_path: string, _node: FileNode, data: Bytes): Promise<void> {
		for await (const chunk of data) await writeOutput("stdout", chunk);
	}

	async readDirectory(): Promise<never> {
		throw new ShaleError("conflict", "- is no directory");
	}

	async writeDirectory(): Promise<never> {
		return await this.readDirectory();
	}
}
