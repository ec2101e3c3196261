//go:build node

package main

import (
	"github.com/spf13/cobra"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// A full node has these too; they are built on demand, since kubelet alone takes as long as all of the others.
func init() {
	programs["kubelet"] = kubelet.NewKubeletCommand
	programs["kube-proxy"] = proxy.NewProxyCommand
	programs["kube-scheduler"] = func() *cobra.Command { return scheduler.NewSchedulerCommand() }
}
