// Command control-plane is etcd, kube-apiserver and kube-controller-manager in one binary, for the tests on a real API
// server: its first argument says which of them it is, the others are that program's own. One binary, since they share
// nine tenths of their packages and linking is what takes long.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// programs are the programs of this binary; node.go adds those of a node.
var programs = map[string]func() *cobra.Command{
	"etcd":                    etcdCommand,
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
}

func main() {
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: control-plane PROGRAM [FLAGS]; programs:")
		for name := range programs {
			fmt.Fprintln(os.Stderr, " ", name)
		}
		os.Exit(2)
	}
	name := os.Args[1]
	os.Args = append([]string{name}, os.Args[2:]...)
	if os.Getenv("EXIT_WITH_STDIN") != "" {
		go exitWithStdin()
	}
	os.Exit(cli.Run(programs[name]()))
}

// exitWithStdin ends the program when its standard input closes: the starter holds the other end of the pipe, so that
// nothing outlives a test run, however that ends.
func exitWithStdin() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}
