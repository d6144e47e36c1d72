// A radio without air, loaded into Zigbee2MQTT by `node --require`: everything above herdsman's adapter is genuine.
//
// Each frame that a device would receive is printed as a line `frame {"to", "cluster", "command", "payload"}` and
// answered with success. A line of JSON on standard input, {"from", "cluster", "bytes"}, is a frame that a device sends.
"use strict";
const path = require("node:path");
const readline = require("node:readline");

const herdsman = path.join(process.cwd(), "node_modules/zigbee-herdsman/dist");
const { Adapter } = require(path.join(herdsman, "adapter/adapter.js"));
const Zcl = require(path.join(herdsman, "zspec/zcl"));

const DEFAULT_RESPONSE = 0x0b;
const ANSWERS = { read: 0x01, write: 0x04, configReport: 0x07 };
const FROM_SERVER = 0x18; // profile-wide, server to client, no default response

class Radio extends Adapter {
    constructor(...options) {
        super(...options);
        this.hasZdoMessageOverhead = false;
        readline.createInterface({ input: process.stdin }).on("line", (line) => {
            const { from, cluster, bytes } = JSON.parse(line);
            this.emit("zclPayload", this.payload(from, 1, cluster, Buffer.from(bytes)));
        });
    }

    payload(address, endpoint, clusterID, data) {
        const header = Zcl.Header.fromBuffer(data);
        const about = { linkquality: 255, groupID: 0, wasBroadcast: false, destinationEndpoint: 1 };
        return { clusterID, address, header, data, endpoint, ...about };
    }

    async sendZclFrameToEndpoint(to, address, endpoint, frame) {
        const { cluster, command, header, payload } = frame;
        console.log(`frame ${JSON.stringify({ to, cluster: cluster.name, command: command.name, payload })}`);
        const start = [FROM_SERVER, header.transactionSequenceNumber];
        let answer = [...start, DEFAULT_RESPONSE, command.ID, 0];
        if (header.isGlobal && command.name === "read") {
            // Every attribute that is asked for is an 8-bit number with the value 0.
            answer = [...start, ANSWERS.read, ...payload.flatMap(({ attrId }) => [attrId & 255, attrId >> 8, 0, 0x20, 0])];
        } else if (header.isGlobal && command.name in ANSWERS) {
            answer = [...start, ANSWERS[command.name], 0];
        }
        return this.payload(address, endpoint, cluster.ID, Buffer.from(answer));
    }

    async start() {
        return "resumed";
    }

    async getCoordinatorIEEE() {
        return "0x00124b0000000001";
    }

    async getCoordinatorVersion() {
        return { type: "none", meta: {} };
    }

    async getNetworkParameters() {
        return { panID: 0x1a62, extendedPanID: "0xdddddddddddddddd", channel: 11, nwkUpdateID: 0 };
    }

    async supportsBackup() {
        return false;
    }

    waitFor() {
        return { promise: new Promise(() => {}), cancel() {} };
    }

    async sendZdo() {
        throw new Error("this radio has no ZDO");
    }

    async stop() {}
    async reset() {}
    async permitJoin() {}
    async addInstallCode() {}
    async sendZclFrameToGroup() {}
    async sendZclFrameToAll() {}
}

Adapter.create = async (...options) => new Radio(...options);
