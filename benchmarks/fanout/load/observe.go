package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

const (
	ticks = 100 // a second, USER_HZ of Linux
	page  = 4096
)

// seen is a process at a moment: CPU seconds of all its threads, and resident bytes.
type seen struct {
	cpu      float64
	resident int64
}

// observe reads /proc/PID/stat (proc(5)): fields 14, 15 and 24.
func observe(pid int) seen {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return seen{}
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	pages, _ := strconv.ParseInt(fields[21], 10, 64)
	return seen{(user + system) / ticks, pages * page}
}
