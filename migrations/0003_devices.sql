-- 0003: staff are told once for each case and device that a customer's device is signed by nobody.

CREATE TABLE flagged_devices (
    case_number INTEGER NOT NULL REFERENCES cases (number),
    device_id   TEXT NOT NULL,
    PRIMARY KEY (case_number, device_id)
) STRICT, WITHOUT ROWID;
